"""A source, a stream of features and a head that tests control."""

import time
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np

EVENT = {"id": "a1", "camera": "hall", "class": "fight", "score": 0.9, "start_unix": 10.0, "end_unix": 12.0}


def frames(
    count: int, fps: float = 25.0, begin: float = 1000.0, gaps: Sequence[int] = (), side: int = 8
) -> list[SimpleNamespace]:
    """Frames whose brightness is their number; each one in `gaps` is 10 s late."""
    found, shown = [], begin
    for index in range(count):
        shown += 10.0 if index in gaps else 0.0
        picture = np.full((side, side), index % 256, np.uint8)
        found.append(SimpleNamespace(picture=picture, time=shown, index=index, gap=index in gaps))
        shown += 1 / fps
    return found


class FakeSource:
    def __init__(self, given: list[SimpleNamespace], name: str = "hall", fps: float | None = 25.0, ends: bool = True):
        self.name, self.fps, self._given, self._ends = name, fps, list(given), ends
        self.closed = False
        self.stats = SimpleNamespace(
            frames=len(given), dropped=3, restarts=1, decode_errors=2, state="ok", fps=fps, error=None
        )

    @property
    def ended(self) -> bool:
        return self._ends and not self._given

    def read(self, timeout: float) -> SimpleNamespace | None:
        if self._given:
            return self._given.pop(0)
        time.sleep(min(timeout, 0.01))
        return None

    def close(self) -> None:
        self.closed = True


class FakeStream:
    """Gives the features of a clip two snippets late: here the mean brightness of every snippet, [k, 1]."""

    def __init__(self, side: int = 8) -> None:
        self.pictures = np.zeros((0, side, side), np.uint8)
        self.given = 0
        self.state_bytes = 1000

    def push(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
        self.pictures = np.concatenate((self.pictures, pictures))
        return self._upto(len(self.pictures) // 8 - 2)

    def flush(self) -> dict[str, np.ndarray]:
        return self._upto(-(-(len(self.pictures) // 4 * 4) // 8) - 1)

    def _upto(self, count: int) -> dict[str, np.ndarray]:
        count = max(count, self.given)
        means = [self.pictures[8 * i : 8 * i + 8].mean() for i in range(self.given, count)]
        self.given = count
        return {"infrared_features": np.array(means, np.float32)[:, None]}


def head(features: dict[str, np.ndarray], first: int, length: int) -> np.ndarray:
    """The score of a snippet is its brightness in 0–1."""
    return features["infrared_features"] / 255
