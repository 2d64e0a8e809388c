"""An array in a temporary file, so that the features of a long recording do not fill the memory."""

import os
import tempfile

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
        self._file.seek(0, os.SEEK_END)
        np.ascontiguousarray(rows, np.float32).tofile(self._file)
        self._count, self._width = self._count + len(rows), rows.shape[1]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, part: slice) -> NDArray[np.float32]:
        start, stop, _ = part.indices(self._count)
        shape = max(stop - start, 0), self._width
        self._file.seek(start * self._width * np.dtype(np.float32).itemsize)
        return np.fromfile(self._file, np.float32, shape[0] * shape[1]).reshape(shape)

    def close(self) -> None:
        """Delete the file."""
        self._file.close()
