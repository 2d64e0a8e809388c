"""An array in a temporary file, so that the features of a long recording do not fill the memory."""

import os
import tempfile
from typing import Self

import numpy as np
from numpy.typing import NDArray


class DiskArray:
    """float32 [n, width] that grows by `append`; slicing with `array[start:stop]` reads rows.

    The file has no name: it disappears with the object or the process.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by `close`
        self._count = self._width = 0

    def append(self, rows: NDArray[np.float32]) -> None:
        """Add rows, float32 [m, width]. Raises OSError if the disk is full."""
        self._width = rows.shape[1]
        left = _bytes(np.ascontiguousarray(rows, np.float32))
        while left:  # one call writes 2 GB at most
            left = left[self._file.write(left) :]
        self._count += len(rows)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, part: slice) -> NDArray[np.float32]:
        start, stop, _ = part.indices(self._count)
        rows = np.empty((max(stop - start, 0), self._width), np.float32)
        left, at = _bytes(rows), start * self._width * rows.itemsize
        while left:
            read = os.preadv(self._file.fileno(), [left], at)
            left, at = left[read:], at + read
        return rows

    def close(self) -> None:
        """Delete the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _bytes(rows: NDArray[np.float32]) -> memoryview:
    return rows.reshape(-1).view(np.uint8).data
