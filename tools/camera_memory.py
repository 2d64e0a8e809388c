"""Memory of several cameras on one network: `python -m tools.camera_memory BUNDLE [--precision int8] [--cameras 1 4]`.

Each number of cameras runs in its own process, and each camera shows its own clip. The difference between two numbers
is the memory of the added cameras.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

from infdet_deploy.bundle.loading import load_bundle
from infdet_deploy.live.camera import Camera
from infdet_deploy.live.events import Event
from infdet_deploy.live.head import LiveHead
from infdet_deploy.live.window import SlidingWindow
from infdet_deploy.runtime.incremental import StreamModel
from infdet_deploy.system import trim_memory
from infdet_deploy.video.sample import sample_frames
from tests.live.fakes import FakeSource
from tools.camera_faults import resident_kb

FPS = 25.0


def run(path: Path, precision: str, count: int, frames: int) -> None:
    """Run `count` cameras to the end of their clips; print the process's memory and their state, in MB."""
    bundle, events = load_bundle(path), list[Event]()
    head = LiveHead(bundle, precision=precision)
    with StreamModel(bundle, precision=precision) as model:

        def window() -> SlidingWindow:
            return SlidingWindow(head.session(), bundle.classes, bundle.rule)

        cameras = []
        for number in range(count):
            clip = sample_frames(frames, bundle.size, seed=number)
            shown = [
                SimpleNamespace(picture=picture, time=1000 + index / FPS, index=index, gap=False)
                for index, picture in enumerate(clip)
            ]
            source = FakeSource(shown, f"camera {number}", FPS)
            cameras.append(Camera(source, model.stream, window, events.append, "b"))
        for camera in cameras:
            camera.start()
        assert all(camera.join(3600) for camera in cameras)
        assert not any(camera.failures for camera in cameras)
        trim_memory()
        state = sum(camera.state_bytes for camera in cameras)
        print(f"{resident_kb(os.getpid()) / 1024:.1f} {state / 1e6:.1f}")
    head.close()


def main() -> None:
    """Print a line for each number of cameras."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--cameras", type=int, nargs="+", default=(1, 4))
    parser.add_argument("--frames", type=int, default=256)
    parser.add_argument("--here", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        run(options.bundle, options.precision, options.here, options.frames)
        return
    same = ("--precision", options.precision, "--frames", str(options.frames))
    for count in options.cameras:
        words = (sys.executable, "-m", "tools.camera_memory", str(options.bundle), *same, "--here", str(count))
        memory, state = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
        print(f"{count} cameras: {memory} MB, of which {state} MB are the towers' state", flush=True)


if __name__ == "__main__":
    main()
