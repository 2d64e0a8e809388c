"""RTSP through a real server: frames at their pace, and again after the server was killed and restarted."""

import time

import numpy as np
import pytest

from infdet_deploy.live.sources.source import SourceOptions, open_source
from infdet_deploy.live.sources.supervisor import ReconnectPolicy
from tests.live.sources import rtsp

QUICK = ReconnectPolicy(connect_s=5.0, hang_s=1.0, backoff_s=0.2, backoff_max_s=1.0)


def read(source, count, seconds=30.0):
    found, until = [], time.monotonic() + seconds
    while len(found) < count and time.monotonic() < until:
        frame = source.read(0.5)
        found += [] if frame is None else [frame]
    assert len(found) == count
    return found


def test_a_camera_over_rtsp_that_dies_and_comes_back():
    if not rtsp.available():
        pytest.skip("GStreamer's RTSP server is not installed")
    camera = rtsp.RtspCamera()
    port = camera.port
    try:
        with open_source(f"rtsp://127.0.0.1:{port}{rtsp.PATH}", 64, SourceOptions(reconnect=QUICK)) as source:
            frames = read(source, 40)
            assert source.stats.state == "ok"
            assert frames[0].picture.shape == (64, 64)
            assert len({frame.picture.tobytes() for frame in frames}) > 30  # the ball moves
            # the stream's own time, whenever frames came
            assert np.median(np.diff([frame.time for frame in frames])) == pytest.approx(0.04, abs=0.01)
            camera.close()
            until = time.monotonic() + 20
            while source.stats.state != "down":
                assert time.monotonic() < until
                source.read(0.1)
            camera = rtsp.RtspCamera(port)
            back = time.time()
            while read(source, 1)[0].time < back:
                pass
            assert time.time() - back < 20
            assert source.stats.restarts >= 1
    finally:
        camera.close()
