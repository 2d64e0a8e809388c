"""Recordings in blocks: the frames that `read_video` gives, in little memory, and a thread that ends."""

import subprocess
import sys
import threading
import time
from fractions import Fraction

import av
import numpy as np
import pytest

from infdet_deploy.errors import UsageError, VideoError
from infdet_deploy.video import read_video
from infdet_deploy.video.block_reader import BLOCK_FRAMES, BLOCKS_AHEAD, BlockReader, frames_at
from infdet_deploy.video.preparation import Preparation
from infdet_deploy.video.recording import expected_frames
from infdet_deploy.video.timing import RawFrame
from tests.video.recordings import cut, moving_scene, write_video


def counts(frames):
    """Thermal counts of a scene, with a range that no single frame has."""
    steps = np.arange(len(frames), dtype=np.uint16)[:, None, None]
    return frames.astype(np.uint16) * 7 + 3000 + 11 * steps


def write_pngs(folder, frames):
    folder.mkdir()
    kind = "gray16be" if frames.dtype == np.uint16 else "gray"
    for number, frame in enumerate(frames):
        encoder = av.CodecContext.create("png", "w")
        encoder.height, encoder.width, encoder.pix_fmt, encoder.time_base = *frame.shape, kind, Fraction(1, 25)
        source = av.VideoFrame.from_ndarray(frame, format="gray16le" if frames.dtype == np.uint16 else "gray")
        packets = encoder.encode(source.reformat(format=kind)) + encoder.encode(None)
        (folder / f"{number}.png").write_bytes(b"".join(map(bytes, packets)))
    return folder


def recording(kind, folder, frames):
    if kind == "video":
        return write_video(folder / "a.mkv", frames, "ffv1", "gray")
    if kind == "uneven":
        pts = [40 * n + 7 * (n % 3) for n in range(len(frames))]
        return write_video(folder / "a.mkv", frames, "ffv1", "gray", pts=pts)
    if kind == "16-bit video":
        return write_video(folder / "a.mkv", counts(frames), "ffv1", "gray16le", source="gray16le")
    if kind == "pictures":
        return write_pngs(folder / "a", frames)
    if kind == "16-bit pictures":
        return write_pngs(folder / "a", counts(frames))
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(folder / "a.tif", counts(frames))
    return folder / "a.tif"


@pytest.mark.parametrize("kind", ["video", "uneven", "16-bit video", "pictures", "16-bit pictures", "tiff"])
@pytest.mark.parametrize(("frames", "fps"), [(17, None), (BLOCK_FRAMES, 9.0), (2 * BLOCK_FRAMES + 3, None)])
def test_frames_and_rate_are_those_of_read_video(tmp_path, kind, frames, fps):
    path = recording(kind, tmp_path, moving_scene(frames, 24, 32))
    whole = read_video(path, 32, "crop", fps=fps)
    with BlockReader(path, Preparation(32, "crop"), fps) as stream:
        blocks = list(stream)
        assert (stream.frames, stream.fps, stream.name) == (frames, whole.fps, whole.name)
    assert np.array_equal(np.concatenate(blocks), whole.frames)
    assert max(map(len, blocks)) <= BLOCK_FRAMES
    picks = np.array([0, frames // 2, frames - 1])
    assert np.array_equal(frames_at(path, picks, Preparation(32, "crop")), whole.frames[picks])
    expected = expected_frames(path)
    assert (expected is None) if kind == "tiff" else abs(expected - frames) <= 2


def test_what_is_wrong_is_told_as_by_read_video(tmp_path):
    whole = write_video(tmp_path / "a.mkv", moving_scene(200, 24, 32), "ffv1", "gray")
    for path in (tmp_path / "none.mkv", cut(whole, 0.6)):
        with pytest.raises(VideoError) as expected:
            read_video(path, 32, strict=True)
        with BlockReader(path, Preparation(32), strict=True) as stream, pytest.raises(VideoError) as found:
            list(stream)
        assert str(found.value) == str(expected.value)
    with (
        BlockReader(whole, Preparation(32), min_frames=201) as stream,
        pytest.raises(VideoError, match="has 200 frames"),
    ):
        list(stream)
    with pytest.raises(UsageError, match="fps is 0"):
        BlockReader(whole, Preparation(32), fps=0)
    with pytest.raises(UsageError, match="unknown resize mode"):
        BlockReader(whole, Preparation(32, "fit"))


def test_decoding_waits_and_its_thread_ends(tmp_path, monkeypatch):
    decoded = []

    def reader(path, doubts=None):
        for number in range(100 * BLOCK_FRAMES):
            decoded.append(number)
            yield RawFrame(np.zeros((24, 32), np.uint8))

    for module in ("block_reader", "recording"):  # for the frames, and for the first one's time
        monkeypatch.setattr(f"infdet_deploy.video.{module}.read_recording", reader)
    with BlockReader(tmp_path / "a.tif", Preparation(32)) as stream:
        next(iter(stream))
        most = (BLOCKS_AHEAD + 1) * BLOCK_FRAMES + 1  # the first frame is also read for its time
        for _ in range(200):
            if len(decoded) == most:
                break
            time.sleep(0.05)
        time.sleep(0.2)
        assert len(decoded) == most
    assert not any(thread.name.startswith("decode a") for thread in threading.enumerate())


def test_a_reader_is_iterated_once(tmp_path):
    path = write_video(tmp_path / "a.mkv", moving_scene(20, 24, 32), "ffv1", "gray")
    with BlockReader(path, Preparation(32)) as stream:
        assert sum(map(len, stream)) == 20
        with pytest.raises(RuntimeError, match="only once"):
            list(stream)
    with BlockReader(path, Preparation(32)) as stream:
        pass
    with pytest.raises(RuntimeError, match="only once"):
        list(stream)


def test_an_unclosed_reader_does_not_keep_the_process(tmp_path):
    code = (
        "import time\n"
        "import numpy as np\n"
        "from infdet_deploy.video import block_reader, recording\n"
        "from infdet_deploy.video.timing import RawFrame\n"
        "def frames(path, doubts=None):\n"
        "    yield from [RawFrame(np.zeros((24, 32), np.uint8))] * block_reader.BLOCK_FRAMES\n"
        "    time.sleep(600)\n"
        "block_reader.read_recording = recording.read_recording = frames\n"
        "stream = block_reader.BlockReader('a.tif', block_reader.Preparation(32))\n"
        "print(len(next(iter(stream))))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{BLOCK_FRAMES}\n", "")
