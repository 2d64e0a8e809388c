"""A camera on this machine, Y8 and Y16, played by a recording in libav's place: there is no such device here."""

import math
import socket

import av
import numpy as np
import pytest

from infdet_deploy.live.sources.address import Address
from infdet_deploy.live.sources.decoder_process import FrameSender
from infdet_deploy.live.sources.decoding import decode
from infdet_deploy.live.sources.messages import Kind, receive
from infdet_deploy.video.preparation import Preparation
from infdet_deploy.video.resize import resize
from tests.video.recordings import moving_scene, write_video

FRAMES = 20


@pytest.mark.parametrize(("pixels", "depth"), [("gray", 8), ("gray16le", 16)])
def test_counts_become_grey_levels(tmp_path, monkeypatch, pixels, depth):
    scene = moving_scene(FRAMES, 48, 64)
    raw = scene if depth == 8 else 7000 + scene.astype(np.uint16)
    path, asked, plain = write_video(tmp_path / "a.mkv", raw, "ffv1", pixels, source=pixels), [], av.open

    def from_recording(target, format=None, options=None):
        asked.append((target, format, options))
        return plain(str(path))

    monkeypatch.setattr(av, "open", from_recording)
    address = Address.of(f"v4l2:/dev/null?pixel_format={pixels}&video_size=64x48")  # any device will do
    request = address.request(Preparation(32), 9.0, True, 1.0)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        decode(request, FrameSender(theirs, request))
        ours.settimeout(5)
        stream = ours.makefile("rb")
        messages = [receive(stream, 1 << 16) for _ in range(1 + FRAMES)]
    assert asked == [("/dev/null", "v4l2", {"pixel_format": pixels, "video_size": "64x48", "framerate": "9.0"})]
    assert [one.kind for one in messages] == [Kind.OPENED] + [Kind.FRAME] * FRAMES
    for one, frame in zip(messages[1:], raw, strict=True):
        picture, small = np.frombuffer(one.body, np.uint8).reshape(32, 32), resize(frame, 32, "resize")
        if depth == 8:
            assert math.isnan(one.low)
            assert np.array_equal(picture, small)
        else:
            assert raw.min() <= one.low < one.high <= raw.max()
            expected = np.clip((small.astype(float) - one.low) * 255 / (one.high - one.low), 0, 255)
            assert np.abs(picture - expected).max() <= 1
            assert picture.std() > 30
