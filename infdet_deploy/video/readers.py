"""The reader for each kind of recording."""

from collections.abc import Iterator
from pathlib import Path

from infdet_deploy.errors import VideoError, reason
from infdet_deploy.video.containers import read_container
from infdet_deploy.video.images import read_folder
from infdet_deploy.video.thermal import read_cptv, read_tiff
from infdet_deploy.video.timing import RawFrame

# Readers of files that libav does not read, by suffix.
OTHER_READERS = {".cptv": read_cptv, ".tif": read_tiff, ".tiff": read_tiff}


def read_recording(path: Path) -> Iterator[RawFrame]:
    """The frames of a file or a folder of pictures; raises as `read_video` does."""
    try:
        if path.is_dir():
            yield from read_folder(path)
            return
        if not path.exists():
            raise VideoError(
                f"{path}: no such file or folder; expected a video, a thermal recording or a folder of pictures"
            )
        if path.is_file() and path.stat().st_size == 0:
            raise VideoError(
                f"{path}: the file is empty; expected a video: check that it was copied or recorded completely"
            )
        yield from OTHER_READERS.get(path.suffix.lower(), read_container)(path)
    except OSError as error:
        raise VideoError(f"{path}: cannot be read ({reason(error)}); check the path and its permissions") from None
