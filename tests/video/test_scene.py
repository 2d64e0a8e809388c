"""Shutter events, blank frames, changes of gain and telemetry rows do not set the range nor reach the network."""

import numpy as np
import pytest

from infdet_deploy.video import ThermalArray, read_video
from infdet_deploy.video.scene import EDGE_ROWS, Scene, quartiles, scene_rows
from tests.video.recordings import moving_scene

FPS = 10.0


def counts(frames: int = 100) -> np.ndarray:
    """uint16 [T, 96, 128]: a textured scene with sensor noise and a warm body that walks through it."""
    rng = np.random.default_rng(0)
    found = 29000 + 8.0 * moving_scene(1)[0] + rng.normal(0, 3, (frames, 96, 128))
    for index in range(frames):
        found[index, 30:70, index : index + 20] += 600
    return found.astype(np.uint16)


def read(frames: np.ndarray):
    return read_video(ThermalArray(frames, fps=FPS))


def test_a_clean_clip_is_not_touched():
    scene, frames = Scene(ahead=True), counts()
    found = [one for index, frame in enumerate(frames) for one in scene.push(frame, index / FPS)]
    assert [one.held for one in found] == [False] * 100
    assert {one.stretch for one in found} == {0}
    assert all((one.pixels == frame).all() for one, frame in zip(found, frames, strict=True))
    assert scene.notes() == []


@pytest.mark.parametrize(
    ("places", "value"),
    [([50], 0), ([50], 65535), ([10, 60, 99], 0), ([40, 41, 42, 43, 44], "shutter")],
    ids=["black", "white", "three", "shutter"],
)
def test_disturbed_frames_are_replaced_by_the_one_before(places, value):
    clean, frames = read(counts()), counts()
    shutter = np.random.default_rng(1).normal(29700, 3, (96, 128)).astype(np.uint16)
    frames[places] = shutter if value == "shutter" else value
    video = read(frames)
    good = [index for index in range(100) if index not in places]
    assert np.abs(video.frames[good].astype(int) - clean.frames[good]).max() <= 1
    for place in places:
        before = max(index for index in good if index < place)
        assert (video.frames[place] == video.frames[before]).all()
    assert video.notes == (f"shutter or blank frames, replaced by the frame before: {len(places)}",)


@pytest.mark.parametrize("rows", [(0, 2), (94, 96), (92, 96)])
def test_telemetry_does_not_set_the_range(rows):
    clean, frames = read(counts()), counts()
    begin, end = rows
    frames[:, begin:end] = np.random.default_rng(2).choice(
        np.array([0, 7, 4096, 65000], np.uint16), (100, end - begin, 128)
    )
    video = read(frames)
    inner = slice(2, 92)
    assert np.abs(video.frames[:, inner].astype(int) - clean.frames[:, inner]).max() <= 1
    neighbour = end if begin == 0 else begin - 1
    assert (video.frames[:, begin:end] == video.frames[:, neighbour : neighbour + 1]).all()
    assert video.notes == (f"rows of telemetry, replaced by the nearest row: {end - begin}",)


def test_a_change_of_gain_begins_a_stretch_with_its_own_range():
    clean, frames = read(counts()), counts()
    frames[50:] = frames[50:] // 3
    video = read(frames)
    assert np.abs(video.frames[50:].astype(int) - clean.frames[50:]).max() <= 20
    assert video.frames[:50].max() == video.frames[50:].max() == 255
    assert video.notes == ("the level of the counts jumps: 2 stretches, each with its own range",)


@pytest.mark.parametrize(("frames_left", "held"), [(5, 5), (15, 0)])
def test_a_disturbance_at_the_end_is_the_scene_if_it_lasts(frames_left, held):
    frames = counts()
    frames[-frames_left:] //= 3
    video = read(frames)
    assert (
        f"{held}" in video.notes[0] if held else video.notes[0].startswith("the level of the counts jumps: 2 stretches")
    )


def test_a_camera_holds_the_picture_for_two_seconds_at_most():
    scene, frames = Scene(ahead=False), counts()
    frames[20:60] = 0
    found = [one for index, frame in enumerate(frames) for one in scene.push(frame, index / FPS)]
    assert [index for index, one in enumerate(found) if one.held] == [*range(20, 41), *range(60, 81)]
    assert all((found[index].pixels == frames[19]).all() for index in range(20, 41))
    assert [found[index].stretch for index in (0, 40, 41, 80, 81, 99)] == [0, 0, 1, 1, 2, 2]
    assert scene.held == 42


def test_a_body_close_to_the_camera_is_the_scene():
    frames = counts(60)
    for index in range(10, 50):  # covers up to nine tenths of the picture, and leaves
        frames[index, :, : min((index - 9) * 20, 115, (50 - index) * 20)] += 800
    scene = Scene(ahead=True)
    found = [one for index, frame in enumerate(frames) for one in scene.push(frame, index / FPS)]
    assert not any(one.held for one in found)
    assert {one.stretch for one in found} == {0}


def test_quartiles_and_rows_of_known_frames():
    assert quartiles(np.arange(9, dtype=np.uint16).reshape(3, 3)) == (2, 4, 6)
    frame = counts(1)[0]
    assert (scene_rows(frame) == np.arange(96)).all()
    frame[:3] = 0
    assert scene_rows(frame)[:5].tolist() == [3, 3, 3, 3, 4]
    assert (scene_rows(frame[: 4 * EDGE_ROWS]) == np.arange(4 * EDGE_ROWS)).all()  # too few rows to tell
