"""False colours are mapped back to intensity; grey and ordinary colour recordings are not."""

import numpy as np
import pytest

from infdet_deploy.video import read_video
from infdet_deploy.video.palettes import PALETTES
from tests.video.recordings import write_video


def scene(frames: int = 20) -> np.ndarray:
    """uint8 [T, 96, 128]: a smooth scene that uses all levels, with a warm body that moves."""
    ramp = np.add.outer(np.linspace(0, 90, 96), np.linspace(0, 110, 128))
    found = np.repeat(ramp[None], frames, 0)
    for index in range(frames):
        found[index, 30:60, 2 * index : 2 * index + 24] += 55
    return found.astype(np.uint8)


def write(path, frames: np.ndarray, palette: str, codec: str):
    colours = np.rint(PALETTES[palette]).astype(np.uint8)[frames]
    pixels = {"ffv1": "bgr0", "libx264": "yuv420p"}[codec]
    return write_video(path, colours, codec, pixels, "rgb24")


@pytest.mark.parametrize("palette", sorted(PALETTES))
@pytest.mark.parametrize(("codec", "most", "mean"), [("ffv1", 8, 2.5), ("libx264", 130, 6.0)])
def test_rainbows_become_intensity(tmp_path, palette, codec, most, mean):
    video = read_video(write(tmp_path / "a.mkv", scene(), palette, codec))
    difference = np.abs(video.frames.astype(int) - scene())
    assert difference.max() <= most
    assert difference.mean() <= mean
    assert video.notes == (f"false colours ({palette}): mapped back to intensity",)


def test_ordinary_colour_is_brightness_with_a_note(tmp_path):
    colour = np.random.default_rng(0).integers(0, 256, (8, 12, 3)).astype(np.uint8)
    frames = np.repeat(np.kron(colour, np.ones((12, 12, 1), np.uint8))[None], 20, 0)
    video = read_video(write_video(tmp_path / "a.mkv", frames, "ffv1", "bgr0", "rgb24"))
    assert abs(int(video.frames[0, 0, 0]) - frames[0, 0, 0] @ (0.299, 0.587, 0.114)) <= 1
    assert video.notes == (
        "coloured: only the brightness is used; record thermal video in white-hot, without a palette",
    )


def test_grey_video_in_colour_pixels_has_no_note(tmp_path):
    frames = np.repeat(scene()[..., None], 3, -1)
    assert read_video(write_video(tmp_path / "a.mkv", frames, "libx264", "yuv420p", "rgb24")).notes == ()
