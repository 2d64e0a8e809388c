"""Synthetic frames for measurements, from a seed: neither zeros nor white noise, which would run at other speeds."""

import numpy as np
from numpy.typing import NDArray


def sample_frames(frames: int, size: int, seed: int = 0) -> NDArray[np.uint8]:
    """Warm blobs that wander over a cool, noisy ground: uint8 [frames, size, size]."""
    rng = np.random.default_rng(seed)
    axis = np.linspace(0, 1, size, dtype=np.float32)
    time = np.arange(frames, dtype=np.float32)[:, None]
    ground = 40 + 20 * axis[:, None] + 10 * np.sin(7 * axis)[None, :]
    pattern = rng.normal(0, 2, (size, size)).astype(np.float32)
    picture: NDArray[np.float32] = np.repeat((ground + pattern)[None], frames, axis=0)
    for _ in range(4):
        phase, speed, radius = rng.uniform(0, 6, 2), rng.uniform(0.02, 0.1, 2), rng.uniform(0.05, 0.15)
        y = 0.5 + 0.4 * np.sin(phase[0] + speed[0] * time)
        x = 0.5 + 0.4 * np.sin(phase[1] + speed[1] * time)
        rows = np.exp(-(((axis - y) / (1.6 * radius)) ** 2))
        columns = np.exp(-(((axis - x) / radius) ** 2))
        picture += 120 * rows[:, :, None] * columns[:, None, :]
    picture += rng.normal(0, 3, (min(frames, 16), size, size)).astype(np.float32)[np.arange(frames) % 16]
    return np.clip(picture, 0, 255).astype(np.uint8)
