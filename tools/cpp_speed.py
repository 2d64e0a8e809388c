"""Compare speed and memory of libinfdet and the Python runtime, in alternating processes. Run by hand:

python -m tools.cpp_speed build/cpp/libinfdet.so NAME.infdet float32 [FRAMES] [ROUNDS]
"""

import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 3  # per round; the fastest counts


def measure(who: str, library: str, bundle: str, precision: str, frames: int) -> dict[str, float]:
    """Milliseconds of one detection, and the process's peak memory in MB, without what it held before."""
    from infdet_deploy.bundle.loading import load_bundle
    from infdet_deploy.video.sample import sample_frames

    clip = sample_frames(frames, load_bundle(bundle).size)
    if who == "python":
        from infdet_deploy.runtime.detector import Detector
        from infdet_deploy.video import Video

        detector = Detector(bundle, precision=precision)
        video = Video("clip", clip, 25.0, frames / 25)

        def detect() -> object:
            return detector.detect(video)
    else:
        from tests.cpp.library import Native

        native = Native(Path(library))
        model = native.open(bundle, precision=precision)

        def detect() -> object:
            return native.detect(model, clip, 25.0)

    detect()
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        detect()
        times.append(1000 * (time.perf_counter() - start))
    return {"ms": min(times), "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main(library: str, bundle: str, precision: str, frames: str = "400", rounds: str = "7") -> None:
    found: dict[str, list[dict[str, float]]] = {"python": [], "c++": []}
    for _ in range(int(rounds)):
        for who in found:
            line = [sys.executable, "-m", "tools.cpp_speed", "--measure", who, library, bundle, precision, frames]
            found[who].append(json.loads(subprocess.run(line, capture_output=True, text=True, check=True).stdout))
    for what in ("ms", "peak_mb"):
        python, cpp = ([one[what] for one in found[who]] for who in found)
        ratio = statistics.median(c / p for c, p in zip(cpp, python, strict=True))
        print(f"{what}: python {statistics.median(python):.1f}, c++ {statistics.median(cpp):.1f}, ratio {ratio:.3f}")


if __name__ == "__main__":
    if sys.argv[1] == "--measure":
        print(json.dumps(measure(*sys.argv[2:6], int(sys.argv[6]))))
    else:
        main(*sys.argv[1:])
