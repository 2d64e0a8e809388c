"""Clips: the seconds of an event, bounded on disk."""

import time

import av
import numpy as np
import pytest

from infdet_deploy.live import clips
from infdet_deploy.live.clips import ClipBuffer, ClipSaver, clip_name, write_clip
from infdet_deploy.live.events import Event
from tests.live.test_delivery import until


def event(number=0, start=1000.0, end=1002.0):
    made = Event(f"{number:08d}-x", "hall", "fight", 0.9, start, end, end + 5, "b")
    return Event(**(vars(made) | {"clip": clip_name(made)}))


def test_a_clip_has_its_seconds_and_the_oldest_make_room(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(clips, "write_clip", lambda path, frames: (write_clip(path, frames), written.append(path)))
    saver = ClipSaver(tmp_path, max_gb=1e-5)
    (tmp_path / "mine.mp4").write_bytes(bytes(50_000))
    ring = ClipBuffer(saver, before_s=1, after_s=1)
    rng = np.random.default_rng(0)
    for index in range(100):
        ring.add(1000 + index / 25, rng.integers(0, 255, (64, 64), np.uint8))
        if index == 60:
            ring.save(event(0, 1001.0, 1002.0))
    ring.finish()
    until(lambda: written)
    ring.save(event(1, 1000.0, 1003.0))
    ring.finish()
    saver.close(time.monotonic() + 10)
    assert len(written) == 2
    left = {path.name for path in tmp_path.iterdir()}
    assert "mine.mp4" in left
    assert sum((tmp_path / name).stat().st_size for name in left - {"mine.mp4"}) <= 10_000
    write_clip(tmp_path / "a.event.mp4", [(1000 + i / 10, np.full((64, 64), 90, np.uint8)) for i in range(31)])
    with av.open(str(tmp_path / "a.event.mp4")) as container:
        shown = list(container.decode(video=0))
        assert len(shown) == 31
        assert shown[-1].time == pytest.approx(3.0, abs=2e-3)
        assert abs(int(shown[3].to_ndarray(format="gray")[5, 5]) - 90) <= 3
