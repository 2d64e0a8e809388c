"""The published size, chunked and stepped against the whole clip: `python -m tools.paper_steps BUNDLE`.

Four clips of random length, chunk and step, float32: features within 1e-5 (relative L2), and the same detections. The
bundle is a network of the published size with random weights; it is made where it is not there, which takes minutes.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from infdet_deploy.bundle.loading import Bundle, load_bundle
from infdet_deploy.bundle.tolerances import compare
from infdet_deploy.detections import DetectionRule, detect
from infdet_deploy.exporting.random_bundle import export_random
from infdet_deploy.runtime.detector import Detector
from infdet_deploy.runtime.incremental import StreamModel
from infdet_deploy.video.sample import sample_frames

CASES, ALLOWED, FPS = 4, 1e-5, 25.0
WHOLE_SNIPPETS = 1000  # a chunk longer than every clip here
Features = dict[str, np.ndarray]


def main() -> int:
    """Exit status 1 when a case is not within the bar."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not options.bundle.exists():
        export_random("infdet", options.bundle, ("float32",), incremental=True)
    bundle = load_bundle(options.bundle)
    rng = np.random.default_rng(options.seed)
    return int(not all([_case(bundle, rng) for _ in range(CASES)]))


def _case(bundle: Bundle, rng: np.random.Generator) -> bool:
    """Check one clip, pushed in parts of a random size; prints the errors. Returns whether it is within the bar."""
    begun = time.monotonic()
    length, chunk = int(rng.integers(153, 210)), int(rng.integers(3, 6))
    step, part = int(rng.choice((8, 16, 24, 32))), int(rng.integers(1, 50))
    frames = sample_frames(length, bundle.size, seed=length)
    with Detector(bundle, chunk_snippets=WHOLE_SNIPPETS) as detector:
        whole = detector.features(frames)
        detector.chunk_snippets = chunk
        ways = {"chunked": detector.features(frames), "stepped": _stepped(bundle, frames, step, part)}
        scores = np.sort(detector.scores_of(whole, length), axis=0)
        middle = scores[len(scores) // 2 - 1 :][:2].mean(axis=0)  # between two scores, so that none is the threshold
        rule = DetectionRule(tuple(map(float, middle)), (0.2,) * len(middle))
        reference = _detections(detector, rule, whole, length)
        print(f"{length} frames, chunks of {8 * chunk}, steps of {step}, parts of {part}: {len(reference)} detections")
        good = True
        for way, features in ways.items():
            errors = {name: compare(features[name], rows).relative_l2 for name, rows in whole.items()}
            same = _detections(detector, rule, features, length) == reference
            good = good and same and max(errors.values()) <= ALLOWED
            told = ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
            print(f"  {way}: {told}; detections {'identical' if same else 'DIFFER'}", flush=True)
    print(f"  {time.monotonic() - begun:.0f} s", flush=True)
    return good


def _stepped(bundle: Bundle, frames: np.ndarray, step: int, part: int) -> Features:
    with StreamModel(bundle, step_frames=step) as model:
        stream = model.stream()
        found = [stream.push(frames[at : at + part]) for at in range(0, len(frames), part)] + [stream.flush()]
    return {name: np.concatenate([one[name] for one in found]) for name in found[0]}


def _detections(
    detector: Detector, rule: DetectionRule, features: Features, length: int
) -> list[tuple[str, float, float]]:
    """Class, start and end of each."""
    scores = detector.scores_of(features, length)
    found = detect(scores, detector.bundle.classes, rule, len(scores) / (length / FPS))
    return [(one.label, one.start_s, one.end_s) for one in found]


if __name__ == "__main__":
    raise SystemExit(main())
