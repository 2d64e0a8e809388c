"""The wall-clock time of snippets."""

from collections.abc import Iterable
from math import floor

from infdet_deploy.snippets import FRAMES_PER_SNIPPET


class Timeline:
    """Times of one stretch of frames; of each snippet, the first frame's time is kept until `forget`.

    frames: number of frames. first_time, last_time: of the first and the last frame, Unix seconds.
    """

    def __init__(self) -> None:
        self.frames = 0
        self.first_time = self.last_time = 0.0
        self._starts: dict[int, float] = {}  # snippet → time of its first frame

    def add(self, times: Iterable[float]) -> None:
        """Add the times of the next frames, Unix seconds."""
        for time in times:
            if self.frames % FRAMES_PER_SNIPPET == 0:
                self._starts[self.frames // FRAMES_PER_SNIPPET] = time
            if self.frames == 0:
                self.first_time = time
            self.last_time = time
            self.frames += 1

    @property
    def fps(self) -> float | None:
        """Mean frames per second; None before there are two frames at different times."""
        duration_s = self.last_time - self.first_time
        return (self.frames - 1) / duration_s if self.frames > 1 and duration_s > 0 else None

    def at(self, snippet: float, fps: float) -> float:
        """Start of a snippet, Unix seconds: interpolated, or extrapolated at `fps` after the last frame."""
        whole = floor(snippet)
        before, after = self._starts.get(whole), self._starts.get(whole + 1)
        if before is None:
            return self.last_time + (snippet * FRAMES_PER_SNIPPET - self.frames + 1) / fps
        length_s = FRAMES_PER_SNIPPET / fps if after is None else after - before
        return before + (snippet - whole) * length_s

    def forget(self, before: int, keep: Iterable[int] = ()) -> None:
        """Drop the times of snippets before `before`, except those in `keep`."""
        kept = set(keep)
        for snippet in [s for s in self._starts if s < before and s not in kept]:
            del self._starts[snippet]
