"""Disturb cameras and measure recovery: `python -m tools.camera_faults --count 100 [--rtsp]`.

Each source reads its own camera through its own proxy (`tests/live/sources/mjpeg.py`). Recovery is the time from the
end of a fault to the next frame. At the end no process, file descriptor or thread may be left.
"""

import argparse
import os
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from infdet_deploy.live.sources.source import Source, SourceOptions, open_source
from infdet_deploy.live.sources.supervisor import ReconnectPolicy
from tests.live.sources import rtsp
from tests.live.sources.mjpeg import Camera, Proxy
from tests.video.recordings import moving_scene

KINDS = ("drop", "hang", "garbage", "resolution", "slow", "half-open")
ALLOWED_S = 20.0
SIZES = ((96, 128), (48, 64), (120, 160), (144, 96))


@dataclass(frozen=True)
class Held:
    """Resources of a process."""

    processes: int
    descriptors: int
    threads: int


def held() -> Held:
    """Resources of this process; processes: its children."""
    return Held(len(children(os.getpid())), len(os.listdir("/proc/self/fd")), threading.active_count())


def children(parent: int) -> list[int]:
    """The process ids of a process's children, dead ones not yet reaped among them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue  # it ended meanwhile
        if int(state[1]) == parent:
            found.append(int(path.parent.name))
    return found


def resident_kb(pid: int) -> int:
    """Resident memory of a process in kB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def recoveries(
    kinds: list[str], longest_s: float, policy: ReconnectPolicy, seed: int, speaks_rtsp: bool
) -> list[tuple[str, float, int]]:
    """Put one source through faults: each one's kind, its recovery in seconds and the restarts that it took."""
    rng = random.Random(seed)
    camera = rtsp.RtspCamera() if speaks_rtsp else Camera()
    proxy = Proxy(camera.port)
    url = f"rtsp://127.0.0.1:{proxy.port}{rtsp.PATH}" if speaks_rtsp else proxy.url
    try:
        with open_source(url, 64, SourceOptions(reconnect=policy)) as source:
            _read_until(source, time.time())
            return [(kind, *_disturb(kind, camera, proxy, source, rng, longest_s)) for kind in kinds]
    finally:
        proxy.close()
        camera.close()


def _disturb(
    kind: str, camera: Camera | rtsp.RtspCamera, proxy: Proxy, source: Source, rng: random.Random, longest_s: float
) -> tuple[float, int]:
    restarts = source.stats.restarts
    _read_until(source, time.time() + rng.uniform(0.2, 1))
    if kind == "resolution":
        assert isinstance(camera, Camera)
        camera.show(moving_scene(25, *rng.choice(SIZES)))
    else:
        proxy.begin(kind)
        _read_for(source, rng.uniform(0.5, longest_s))
        proxy.heal()
    well = time.time()
    _read_until(source, well)
    return time.time() - well, source.stats.restarts - restarts


def _read_until(source: Source, moment: float) -> None:
    """Read up to a frame that was shown later than `moment`; stops after three times the allowed time."""
    while time.time() < moment + 3 * ALLOWED_S:
        frame = source.read(0.1)
        if frame is not None and frame.time > moment:
            return


def _read_for(source: Source, seconds: float) -> None:
    until = time.time() + seconds
    while time.time() < until:
        source.read(0.05)


def run(
    count: int, sources: int, longest_s: float, policy: ReconnectPolicy, seed: int = 0, speaks_rtsp: bool = False
) -> list[tuple[str, float, int]]:
    """`count` faults of all kinds in turn, shared among several sources that run in parallel. An RTSP camera
    keeps its resolution."""
    can = [kind for kind in KINDS if not (speaks_rtsp and kind == "resolution")]
    kinds = [can[index % len(can)] for index in range(count)]
    random.Random(seed).shuffle(kinds)
    with ThreadPoolExecutor(sources) as pool:
        jobs = [
            pool.submit(recoveries, kinds[part::sources], longest_s, policy, seed + part, speaks_rtsp)
            for part in range(sources)
        ]
        return [outcome for job in jobs for outcome in job.result()]


def _table(outcomes: list[tuple[str, float, int]]) -> Iterator[str]:
    yield f"{'fault':<12}{'count':>6}{'median s':>10}{'longest s':>11}{'restarts':>10}"
    for kind in (*KINDS, "all"):
        mine = [outcome for outcome in outcomes if kind in (outcome[0], "all")]
        if mine:
            times = [seconds for _, seconds, _ in mine]
            restarts = sum(restarts for *_, restarts in mine)
            yield f"{kind:<12}{len(mine):>6}{np.median(times):>10.2f}{max(times):>11.2f}{restarts:>10}"


def main() -> int:
    """Exit status 1 when a recovery took too long or something was left."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--sources", type=int, default=4, help="number of sources in parallel")
    parser.add_argument("--longest-s", type=float, default=12.0, help="longest duration of a fault")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rtsp", action="store_true", help="over RTSP; needs GStreamer's server")
    options = parser.parse_args()
    before, begun = held(), time.monotonic()
    outcomes = run(options.count, options.sources, options.longest_s, ReconnectPolicy(), options.seed, options.rtsp)
    after = held()
    print(*_table(outcomes), sep="\n")
    for name in ("processes", "descriptors", "threads"):
        print(f"{name}: {getattr(before, name)} before, {getattr(after, name)} after")
    print(f"{time.monotonic() - begun:.0f} s in all")
    late = [outcome for outcome in outcomes if outcome[1] > ALLOWED_S]
    return 1 if late or after != before else 0


if __name__ == "__main__":
    raise SystemExit(main())
