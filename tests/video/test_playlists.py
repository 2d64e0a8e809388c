"""A recording opens no other file, except an HLS playlist the files in its folder."""

import pytest

from infdet_deploy.errors import VideoError
from infdet_deploy.video.containers import read_container
from tests.video.recordings import moving_scene, write_video

HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.8,\n{}\n#EXT-X-ENDLIST\n"


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """A folder with a segment, next to a folder with somebody else's video."""
    disk = tmp_path_factory.mktemp("disk")
    for folder in ("mine", "theirs"):
        (disk / folder).mkdir()
        write_video(disk / folder / "seg.ts", moving_scene(20), "mpeg2video", "yuv420p")
    (disk / "mine" / "link.ts").symlink_to(disk / "theirs" / "seg.ts")
    (disk / "mine" / "inner.m3u8").write_text(HLS.format("seg.ts"))
    (disk / "mine" / "outer.m3u8").write_text(HLS.format("../theirs/seg.ts"))
    return disk


@pytest.mark.parametrize("name", ["seg.ts", "./seg.ts", "../mine/seg.ts"])
def test_a_playlist_of_its_folder(disk, name):
    (disk / "mine" / "list.m3u8").write_text(HLS.format(name))
    assert len(list(read_container(disk / "mine" / "list.m3u8"))) == 20


@pytest.mark.parametrize(
    "name",
    [
        "../theirs/seg.ts", "{}/theirs/seg.ts", "link.ts", "file:seg.ts", "http://host/seg.ts", "concat:seg.ts|seg.ts",
        "crypto+file:seg.ts", "outer.m3u8", "a\0b", "list.m3u8",
    ],
)  # fmt: skip
def test_a_playlist_of_other_files(disk, name):
    (disk / "mine" / "list.m3u8").write_text(HLS.format(name.format(disk)))
    with pytest.raises(VideoError, match=r"list\.m3u8: a playlist that names '") as caught:
        list(read_container(disk / "mine" / "list.m3u8"))
    assert len(str(caught.value).splitlines()) == 1


def test_keys_and_first_parts_count_too(disk):
    for tag in ('#EXT-X-KEY:METHOD=AES-128,URI="/etc/passwd"', '#EXT-X-MAP:URI="../theirs/seg.ts"'):
        text = HLS.format("seg.ts").replace("#EXTINF", f"{tag}\n#EXTINF")
        (disk / "mine" / "list.m3u8").write_text(text)
        with pytest.raises(VideoError, match="a playlist that names"):
            list(read_container(disk / "mine" / "list.m3u8"))


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile ../theirs/seg.ts\n",
        "ffconcat version 1.0\nfile seg.ts\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    ],
)
def test_other_texts_that_name_files(disk, text):
    for name in ("a.mp4", "a.ffconcat", "a.sdp"):
        (disk / "mine" / name).write_text(text)
        with pytest.raises(VideoError, match="not a readable video"):
            list(read_container(disk / "mine" / name))
