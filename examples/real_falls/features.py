"""Nine numbers that describe the warm part of a frame, and how they change around it: the input of boosting.py."""

import numpy as np
from numpy.typing import NDArray
from recordings import Array

WARM_K = 0.25  # a pixel this much warmer than the empty room shows a person; the noise is 0.08 K
# Offsets, in frames, of the 15 frames whose features classify one frame.
OFFSETS = np.round(np.linspace(-30, 30, 15)).astype(int)
_MOTION_FRAMES = 5  # motion is averaged over this many
_ROUND = 0.1  # pixels², added to both variances of the shape: a single pixel is not infinitely long


def frame_features(warmth: Array) -> Array:
    """float32 [T, 9] of frames [T, H, W] in kelvin above the empty room; NaN where nothing is warm.

    Columns: number of warm pixels; sum and maximum of their warmth; centre as row and column; extent, the standard
    deviation along the longer axis, in pixels; elongation, its ratio to the shorter axis; motion, the sum of all
    pixels' changes; the centre's distance to the nearest border.
    """
    height, width = warmth.shape[1:]
    warm = np.where(warmth > WARM_K, warmth, 0)
    area, total = (warm > 0).sum(axis=(1, 2)), warm.sum(axis=(1, 2))
    share = warm / np.where(area > 0, total, np.nan)[:, None, None]
    rows, columns = np.arange(height)[None, :, None], np.arange(width)[None, None, :]
    row, column = (share * rows).sum(axis=(1, 2)), (share * columns).sum(axis=(1, 2))
    down, right = rows - row[:, None, None], columns - column[:, None, None]
    down2, right2 = (share * down**2).sum(axis=(1, 2)), (share * right**2).sum(axis=(1, 2))
    both = (share * down * right).sum(axis=(1, 2))
    middle, radius = (down2 + right2) / 2, np.hypot((down2 - right2) / 2, both)
    longer, shorter = middle + radius, np.maximum(middle - radius, 0)
    elongation = np.sqrt((longer + _ROUND) / (shorter + _ROUND))
    change = np.abs(np.diff(warmth, axis=0, prepend=warmth[:1])).sum(axis=(1, 2))
    motion = np.convolve(change, np.ones(_MOTION_FRAMES) / _MOTION_FRAMES, mode="same")
    border = np.minimum(np.minimum(row, height - 1 - row), np.minimum(column, width - 1 - column))
    columns_of = (area, total, warmth.max(axis=(1, 2)), row, column, np.sqrt(longer), elongation, motion, border)
    return np.stack(columns_of, axis=1).astype(np.float32)


def stacked_features(warmth: Array, frames: NDArray[np.int64]) -> Array:
    """float32 [N, 15 · 9]: the features at 15 offsets around N frames of a recording [T, H, W].

    The centre becomes its distance to the centre now, and to the middle of the picture: the same for every direction
    in which a person walks or falls.
    """
    features = frame_features(warmth)
    around = features[(frames[:, None] + OFFSETS).clip(0, len(features) - 1)]
    now = features[frames][:, None, 3:5]
    middle = (np.array(warmth.shape[1:]) - 1) / 2
    moved = np.linalg.norm(around[:, :, 3:5] - now, axis=2)
    around[:, :, 4] = np.linalg.norm(around[:, :, 3:5] - middle, axis=2)
    around[:, :, 3] = moved
    return np.asarray(around.reshape(len(frames), -1))
