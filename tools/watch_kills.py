"""Kill `watch` at random moments while it writes: `python -m tools.watch_kills --count 20 [BUNDLE FILE]`.

After each kill (SIGKILL) every line of the log must be whole and unique, and every clip must play to its end. With a
bundle and a recording the command itself is killed; without them, a pipeline with a fake source and network that emits
several events a second.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np

from infdet_deploy.detections import DetectionRule
from infdet_deploy.live.camera import Camera
from infdet_deploy.live.clips import ClipBuffer, ClipSaver
from infdet_deploy.live.options import WatchOptions
from infdet_deploy.live.pipeline import Pipeline
from infdet_deploy.live.queue import EventQueue
from infdet_deploy.live.sinks.jsonl import JsonLinesFile
from infdet_deploy.live.window import SlidingWindow
from tests.live.fakes import FakeSource, FakeStream, frames, head

LOG, CLIPS = "events.jsonl", "clips"
SIDE = 32


def run(count: int, folder: Path, command: Sequence[str], longest_s: float = 1.0, seed: int = 0) -> tuple[int, int]:
    """Start `command` and kill it, `count` times; returns the number of lines and clips at the end.

    A kill follows at most `longest_s` after the process wrote its first line or, half of the times, its first clip.
    Raises AssertionError for a partial line, a duplicate line, or a clip that does not play.
    """
    rng = np.random.default_rng(seed)
    played: set[Path] = set()
    for _ in range(count):
        what = rng.integers(2)
        before = _written(folder)[what]
        process = subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 120
            while _written(folder)[what] == before and process.poll() is None:
                assert time.monotonic() < deadline, "nothing was written"
                time.sleep(0.002)
            time.sleep(rng.uniform(0, longest_s))
            assert process.poll() is None, "it ended before it was killed"
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        lines = whole_lines(folder / LOG)
        for path in set((folder / CLIPS).glob("[!.]*")) - played:
            assert frames_of(path) > 1, path
            played.add(path)
    return len(lines), len(played)


def whole_lines(log: Path) -> list[str]:
    """The ids in a log. Raises AssertionError for a partial or a duplicate line."""
    text = log.read_text() if log.exists() else ""
    assert text.endswith("\n") or not text, text[-100:]
    ids = [json.loads(line)["id"] for line in text.splitlines()]
    assert len(ids) == len(set(ids))
    return ids


def frames_of(path: Path) -> int:
    """Number of frames in a clip. Raises AssertionError if it does not play to its end."""
    with av.open(str(path)) as container:
        shown = [frame.time for frame in container.decode(video=0)]
        assert shown[-1] is not None
        assert container.duration is not None
        assert shown[-1] <= container.duration / av.time_base
        assert len(shown) == container.streams.video[0].frames
    return len(shown)


def _written(folder: Path) -> tuple[int, int]:
    """Bytes of the log, number of clips."""
    log = folder / LOG
    return log.stat().st_size if log.exists() else 0, len(list((folder / CLIPS).glob("[!.]*")))


def watch_doubles(folder: Path) -> None:
    """Watch a camera with brightening and darkening pictures, 400 frames a second, until the process is killed."""

    class Endless(FakeSource):
        def read(self, timeout: float):  # type: ignore[no-untyped-def]
            if not self._given:
                self._given = frames(256, fps=400.0, begin=time.time(), side=SIDE)
            time.sleep(1 / 400)
            return super().read(timeout)

    log, saver = JsonLinesFile(folder / LOG), ClipSaver(folder / CLIPS, WatchOptions.clips_max_gb)
    pipeline = Pipeline(EventQueue(folder / "queue", (log.name,)), [log], saver)
    rule = DetectionRule((0.3,), (0.0,))
    clips = ClipBuffer(saver, before_s=0.2, after_s=0.1)

    def window() -> SlidingWindow:
        return SlidingWindow(head, ("bright",), rule, 1.0, 2)

    pipeline.cameras.append(
        Camera(Endless([], fps=400.0, ends=False), lambda: FakeStream(SIDE), window, pipeline.emit, "b", clips)
    )
    pipeline.start()
    while pipeline.update():
        time.sleep(0.1)


def main() -> int:
    """Exit status 1, by an AssertionError, after a kill that left something incomplete."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, nargs="?")
    parser.add_argument("recording", type=Path, nargs="?")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--longest-s", type=float, default=5.0)
    parser.add_argument("--doubles", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.doubles:
        watch_doubles(options.doubles)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = ["tools.watch_kills", "--doubles", name]
        if options.bundle:
            out = ("--out", str(folder / LOG), "--clips", str(folder / CLIPS), "--name", "hall")
            command = ["infdet_deploy.cli", "watch", str(options.bundle), str(options.recording), *out]
        lines, clips = run(options.count, folder, command, options.longest_s)
    print(f"{options.count} kills: {lines} lines, {clips} clips, all whole")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
