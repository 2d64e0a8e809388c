"""Faults of a thermal array itself: warm-up after the start, dead pixels."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

WARM_UP_K = 0.5  # a frame's median temperature is further from the recording's while the sensor warms up
LONGEST_WARM_UP = 100  # frames
DEAD_K = 15.0  # a pixel that is this much colder or hotter than its neighbours throughout is dead

Temperatures = NDArray[np.floating[Any]]

_BLOCK = 64  # frames whose neighbours are in memory at once


def hold_warm_up(frames: Temperatures) -> tuple[Temperatures, int]:
    """Replace the frames at the start, before the sensor has its temperature, by the first one after them.

    frames: [T, H, W] in °C or K. Returns them (a copy where any are replaced) and the number of replaced frames: those
    before the first frame whose median is within 0.5 K of the recording's, at most 100, and none where even frame 100
    differs more.
    """
    medians = np.median(frames.reshape(len(frames), -1), axis=1)
    steady = np.abs(medians - np.median(medians)) <= WARM_UP_K
    first = int(steady.argmax())
    if not first or first > LONGEST_WARM_UP:
        return frames, 0
    held = frames.copy()
    held[:first] = frames[first]
    return held, first


def replace_dead_pixels(frames: Temperatures) -> tuple[Temperatures, list[tuple[int, int]]]:
    """Replace dead pixels, and values that are no numbers, by the median of their eight neighbours.

    frames: [T, H, W]. A pixel is dead where it is NaN in most frames, never changes while most others do, or is 15 K
    from its neighbours' median throughout. Returns the frames (a copy where any pixel is replaced) and the dead pixels
    as (row, column).
    """
    missing = np.isnan(frames)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a pixel is NaN in all frames
        change = np.nanmax(frames, axis=0) - np.nanmin(frames, axis=0)
        level = np.nanmedian(frames, axis=0)
    dead = missing.mean(axis=0) > 0.5
    if len(frames) > 1 and np.nanmedian(change) > 0:
        dead |= change == 0
    dead |= np.abs(level - _median_of_neighbours(level[None])[0]) > DEAD_K
    if not dead.any() and not missing.any():
        return frames, []
    whole = frames.copy()
    whole[:, dead] = np.nan
    middle = np.nanmedian(level[~dead])
    for begin in range(0, len(whole), _BLOCK):
        block = whole[begin : begin + _BLOCK]
        holes = np.isnan(block)
        filled = _median_of_neighbours(block)
        block[holes] = np.where(np.isnan(filled), middle, filled)[holes]
    return whole, [(int(row), int(column)) for row, column in np.argwhere(dead)]


def _median_of_neighbours(frames: Temperatures) -> Temperatures:
    """The median of each pixel's eight neighbours, [T, H, W]; NaN where all of them are."""
    height, width = frames.shape[1:]
    padded = np.pad(frames.astype(np.float64), ((0, 0), (1, 1), (1, 1)), constant_values=np.nan)
    offsets = [(row, column) for row in range(3) for column in range(3) if (row, column) != (1, 1)]
    around = np.stack([padded[:, row : row + height, column : column + width] for row, column in offsets])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all eight are NaN
        median: Temperatures = np.nanmedian(around, axis=0)
    return median
