import gc
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from infdet_deploy.errors import UsageError, VideoError
from infdet_deploy.live.sources.address import Address
from infdet_deploy.live.sources.health import Health, HealthRule
from infdet_deploy.live.sources.source import SourceOptions, open_source
from infdet_deploy.live.sources.supervisor import ReconnectPolicy
from infdet_deploy.video import read_video
from tests.live.sources.broken_decoder import FRAMES, open_broken, write_frames
from tests.live.sources.mjpeg import Camera
from tests.paths import ROOT
from tools.camera_faults import KINDS, held, run

QUICK = {"connect_s": 2.0, "hang_s": 1.0, "backoff_s": 0.2, "backoff_max_s": 1.0}


@pytest.fixture
def before():
    """Processes, descriptors and threads before a test, without garbage that would be collected during it."""
    gc.collect()
    return held()


def read_all(source):
    frames = []
    while not source.ended:
        frame = source.read(1)
        if frame is not None:
            frames.append(frame)
    return frames


def wait_for(condition, seconds=60.0):
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    assert condition()


@pytest.mark.parametrize("invert", [False, True])
def test_a_file_read_fast_gives_offlines_frames_and_drops_none(clip_file, invert):
    with open_source(str(clip_file), 64, SourceOptions(pace="fast", queue_frames=4, invert=invert)) as source:
        frames = read_all(source)
    expected = read_video(clip_file, size=64, invert=invert)
    assert (np.stack([frame.picture for frame in frames]) == expected.frames).all()
    assert [frame.index for frame in frames] == list(range(60))
    times_s = np.array([frame.time for frame in frames])
    assert times_s - times_s[0] == pytest.approx(expected.timestamps_s, abs=1e-3)
    assert not any(frame.gap for frame in frames)
    assert source.stats.dropped == 0
    assert source.stats.state == "ended"
    assert source.fps == pytest.approx(25, rel=0.01)


def test_the_newest_frames_win_and_the_dropped_are_counted(clip_file):
    with open_source(str(clip_file), 64, SourceOptions(queue_frames=8, fps=100)) as source:
        wait_for(lambda: source.stats.state == "ended")
        frames = read_all(source)
    assert len(frames) == 8
    assert source.stats.dropped == 52
    assert (frames[-1].picture == read_video(clip_file, size=64).frames[-1]).all()


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("ftp://host/a", UsageError, "unknown kind of address 'ftp'"),
        ("rtsp:///a", UsageError, "the address is 'rtsp://…'; expected rtsp://…, http://…"),
        ("missing.mp4", VideoError, "no such file"),
        ("v4l2:/dev/video99", VideoError, "no such camera"),
    ],
)
def test_addresses_that_cannot_work_are_refused_at_once(url, error, message):
    with pytest.raises(error, match=message) as caught:
        open_source(url, 64)
    assert "\n" not in str(caught.value)


def test_a_file_without_video_is_refused(tmp_path, before):
    path = tmp_path / "notes.txt"
    path.write_text("no pictures here\n" * 100)
    with pytest.raises(VideoError, match=r"notes\.txt: a text file|not a readable video"):
        open_source(str(path), 64)
    assert held() == before


def test_passwords_are_not_shown():
    address = Address.of("rtsp://user:secret@camera:554/ch1?token=secret")
    assert address.shown == "rtsp://camera:554/ch1?…"
    assert address.name == "camera/ch1"
    assert "secret" in address.target


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("hanging", "no frame for 1 s"),
        ("crashing", "the decoder died \\(SIGABRT\\)"),
        ("babbling", "the decoder sent"),
        ("remembering", r"the range was \(1000.0, 2000.0\)"),
    ],
)
def test_a_decoder_that_fails_is_restarted(kind, reason, before):
    with open_broken(kind, **QUICK) as source:
        wait_for(lambda: source.stats.frames >= 2 * FRAMES and source.stats.restarts >= 2)
        assert source.stats.reconnect_s is not None
        assert source.read(1).picture[0, 0] == 100
        assert re.search(reason, source.stats.error)
    assert held() == before


def test_damage_without_frames_is_counted_and_the_decoder_restarted():
    with open_broken("damaged", **QUICK | {"connect_s": 0.5}) as source:
        wait_for(lambda: source.stats.restarts >= 1)
        assert source.stats.decode_errors > 1
        assert source.stats.frames == 0
        assert source.stats.state == "down"


def test_a_camera_that_is_not_there_yet_is_waited_for():
    camera = Camera()
    port = camera.port
    camera.refuse()
    try:
        with open_source(f"http://127.0.0.1:{port}/a", 64, SourceOptions(reconnect=ReconnectPolicy(**QUICK))) as source:
            wait_for(lambda: source.stats.restarts >= 1)
            assert source.stats.state == "down"
            assert source.read(0) is None
            camera.open()
            wait_for(lambda: source.stats.state == "ok")
    finally:
        camera.close()


def test_faults_are_survived_and_nothing_is_left(before):
    outcomes = run(len(KINDS), 3, 1.5, ReconnectPolicy(**QUICK))
    assert held() == before
    assert sorted(kind for kind, *_ in outcomes) == sorted(KINDS)
    assert max(seconds for _, seconds, _ in outcomes) <= 20


def test_the_decoder_ends_with_its_parent(tmp_path):
    path = write_frames(tmp_path / "long.y4m", 2000)
    script = (
        "import sys, time; from infdet_deploy.live.sources.source import open_source\n"
        "source = open_source(sys.argv[1], 8); print(source.pid, flush=True); time.sleep(100)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE, env=environment) as parent:
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    wait_for(lambda: not is_running(child))


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("leak", [None, "reader", "decoder"])
def test_memory_stays_flat_unless_a_leak_is_planted(leak):
    # In its own process: memory left by earlier tests would hide a leak.
    command = (sys.executable, "-m", "tools.source_memory", "--frames", "10000", *(("--leak", leak) if leak else ()))
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == (leak is not None), done.stdout + done.stderr


def test_frozen_black_and_saturated_pictures_are_noticed():
    noise = np.random.default_rng(0).integers(50, 200, (64, 64), np.uint8)
    pictures = {"frozen": noise, "black": np.full_like(noise, 3), "saturated": np.full_like(noise, 255)}
    for state, picture in pictures.items():
        health = Health(HealthRule(frozen_s=10, uniform_s=2))
        limit_s = 10 if state == "frozen" else 2
        for second in range(15):
            expected = state if second > limit_s else "ok"
            assert health.update(picture, state == "frozen" and second > 0, 1e9 + second) == expected
        assert health.update(noise, False, 1e9 + 15) == "ok"


def test_an_array_is_prepared_as_offline(tmp_path):
    rng = np.random.default_rng(3)
    path, times_s = tmp_path / "room.npz", np.cumsum(rng.uniform(0.08, 0.14, 200))
    celsius = rng.normal(22, 0.1, (200, 16, 16)) + np.linspace(0, 3, 16)
    celsius[50:120, 4:8, 5:9] += 1.0
    np.savez(path, frames=celsius.astype(np.float32), times_s=times_s)
    expected = read_video(path, 32, levels="background", frame_rate=12)
    with open_source(str(path), 32, SourceOptions(levels="background", frame_rate=12, pace="fast")) as source:
        frames = read_all(source)
    assert np.array_equal(np.stack([frame.picture for frame in frames]), expected.frames)
    shown = np.array([frame.time for frame in frames])
    assert shown - shown[0] == pytest.approx(expected.timestamps_s, abs=1e-5)
    assert not any(frame.gap for frame in frames)


def test_frames_are_not_interpolated_across_a_gap(tmp_path):
    path, times_s = tmp_path / "room.npz", np.concatenate((np.arange(30), np.arange(30) + 60)) / 10
    celsius = np.full((60, 8, 8), 22.0, np.float32)
    celsius[30:, 2, 2] = 23.0
    np.savez(path, frames=celsius, times_s=times_s)
    with open_source(str(path), 8, SourceOptions(levels="background", frame_rate=20, pace="fast")) as source:
        frames = read_all(source)
    assert len(frames) == 2 * 59
    assert [frame.index for frame in frames if frame.gap] == [59]
    assert {int(frame.picture[2, 2]) for frame in frames} == {64, 114}
