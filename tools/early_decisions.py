"""Early against offline decisions: `python -m tools.early_decisions BUNDLE DATA [--subset testing] [--together 10]`.

Computes the features of each clip once, runs the head over them every few snippets, as `watch` does, and compares the
detections with those of `detect`. (`watch` sees features a little later, at other snippets.) `--together N` joins N
clips to one recording, to make it longer than the window.
"""

import argparse
from pathlib import Path

import numpy as np

from infdet_deploy.datasets import open_dataset
from infdet_deploy.datasets.instances import Clip, Instance
from infdet_deploy.live.head import LiveHead
from infdet_deploy.live.options import WatchOptions
from infdet_deploy.live.window import SlidingWindow
from infdet_deploy.metrics.average_precision import mean_average_precision, temporal_iou
from infdet_deploy.metrics.thresholds import scored_instances
from infdet_deploy.runtime.detector import Detector
from infdet_deploy.snippets import FRAMES_PER_SNIPPET, STEP_FRAMES


def recordings(data: Path, subset: str, detector: Detector, together: int) -> list[tuple[Clip, np.ndarray, float]]:
    """The clips of a subset, or several at a time as one: annotation, frames, frames/s."""
    dataset = open_dataset(data)
    found = []
    clips = dataset.usable(subset, detector.bundle.classes)
    for first in range(0, len(clips), together):
        group, frames, instances, begin = clips[first : first + together], [], [], 0.0
        for clip in group:
            video = dataset.video(clip, detector.bundle.preparation)
            frames.append(video.frames)
            for one in clip.instances:
                instances.append(Instance(one.label, one.start_s + begin, one.end_s + begin))
            begin += len(video.frames) / video.fps
        found.append((Clip(group[0].name, subset, begin, tuple(instances)), np.concatenate(frames), video.fps))
    return found


def live(
    detector: Detector, head: LiveHead, features: dict, count: int, fps: float, window_s: float, every: int
) -> list:
    """The detections of `watch` for a recording's features, in steps of 32 frames."""
    window = SlidingWindow(head.session(), detector.bundle.classes, detector.bundle.rule, window_s, every)
    found, snippets, step = [], len(next(iter(features.values()))), STEP_FRAMES // FRAMES_PER_SNIPPET
    times = np.arange(count) / fps
    for first in range(0, snippets, step):
        last = min(first + step, snippets)
        part = {name: rows[first:last] for name, rows in features.items()}
        found += window.push(part, times[FRAMES_PER_SNIPPET * first : FRAMES_PER_SNIPPET * last], fps)
    nothing = {name: rows[:0] for name, rows in features.items()}
    found += window.push(nothing, times[FRAMES_PER_SNIPPET * snippets :], fps)
    found += window.finish(nothing, fps)
    return [one.detection for one in found]


def compare(offline: list, early: list, fps: float) -> tuple[int, int, int, int]:
    """Found at both, with ends within a snippet; found at both at an IoU of 0.5; missed; extra."""
    left, same, near = list(early), 0, 0
    for one in offline:
        ious = [
            float(temporal_iou([(one.start_s, one.end_s)], [(other.start_s, other.end_s)])[0, 0])
            * (one.label == other.label)
            for other in left
        ]
        if not ious or max(ious) <= 0.5:
            continue
        other = left.pop(int(np.argmax(ious)))
        near += 1
        same += max(abs(one.start_s - other.start_s), abs(one.end_s - other.end_s)) <= (FRAMES_PER_SNIPPET + 0.5) / fps
    return same, near, len(offline) - near, len(left)


def main() -> None:
    """Print a row for each window."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--subset", default="testing")
    parser.add_argument("--together", type=int, default=1)
    parser.add_argument("--windows", type=float, nargs="+", default=[120.0, 60.0, 30.0])
    parser.add_argument("--every", type=int, default=WatchOptions.every)
    asked = parser.parse_args()
    with Detector(asked.bundle) as detector:
        bundle, head = detector.bundle, LiveHead(detector.bundle)
        clips = recordings(asked.data, asked.subset, detector, asked.together)
        features = [detector.features(frames) for _, frames, _ in clips]
        whole = [
            detector.detections(detector.scores_of(found, len(frames)), len(frames), fps)
            for found, (_, frames, fps) in zip(features, clips, strict=True)
        ]
        annotations = [clip for clip, _, _ in clips]

        def quality(found: list) -> float:
            scored = scored_instances(zip((clip.name for clip in annotations), found, strict=True))
            return 100 * mean_average_precision(annotations, scored, "thumos14", bundle.classes).map["0.5"]

        print(f"{len(clips)} recordings, {sum(map(len, whole))} detections offline, mAP@0.5 {quality(whole):.2f}")
        print("window s  same ends  found  missed  extra  mAP@0.5")
        for window_s in asked.windows:
            early = [
                live(detector, head, found, len(frames), fps, window_s, asked.every)
                for found, (_, frames, fps) in zip(features, clips, strict=True)
            ]
            rows = [compare(o, e, fps) for o, e, (_, _, fps) in zip(whole, early, clips, strict=True)]
            same, near, missed, extra = np.sum(rows, axis=0)
            print(f"{window_s:8.0f} {same:10} {near:6} {missed:7} {extra:6} {quality(early):8.2f}")
        head.close()


if __name__ == "__main__":
    main()
