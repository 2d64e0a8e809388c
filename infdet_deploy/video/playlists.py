"""Files that make libav open other files: only HLS playlists of files in their own folder are allowed.

A recording from elsewhere could otherwise name any video on this machine, and clips of its events would show it.
"""

import re
from functools import cache
from pathlib import Path

import av

from infdet_deploy.errors import VideoError
from infdet_deploy.files import regular_only
from infdet_deploy.text import visible

# libav's formats that open what their text names: other files, addresses, filters.
_REFERRING = {"concat", "dash", "hls", "imf", "lavfi", "rtp", "rtsp", "sap", "sdp", "webm_dash_manifest"}
_HLS = b"#EXTM3U"
_MAX_BYTES = 16_000_000
_MAX_DEPTH = 3  # a playlist of playlists of segments


@cache
def _plain_formats() -> str:
    """All formats of libav that read only the file itself, separated by commas."""
    names = set()
    for name in av.formats_available:
        try:
            names.update(av.ContainerFormat(name, "r").name.split(","))
        except ValueError:  # it can only be written
            continue
    return ",".join(sorted(names - _REFERRING))


def open_options(path: Path) -> dict[str, str]:
    """The options with which libav opens a recording: local files only, and no other file than a playlist may name.

    Raises VideoError for a playlist of files outside its folder.
    """
    formats = _plain_formats()
    if _is_playlist(path):
        _check(path, path, path.parent.resolve(), 1)
        formats += ",hls"
    return {"protocol_whitelist": "file", "format_whitelist": formats}


def _is_playlist(path: Path) -> bool:
    try:
        with open(path, "rb", opener=regular_only) as file:
            return file.read(len(_HLS)) == _HLS
    except OSError:
        return False  # libav says why


def _check(recording: Path, playlist: Path, folder: Path, depth: int) -> None:
    """Raise VideoError if a playlist, or one that it plays, names anything but files in the folder."""
    with open(playlist, "rb", opener=regular_only) as file:
        text = file.read(_MAX_BYTES + 1).decode("utf-8", "replace")
    named = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    named += re.findall(r'URI="([^"]*)"', text)
    for name in named:
        try:
            file_named = (playlist.parent / name).resolve()
            inside = file_named.is_relative_to(folder) and not re.match(r"[A-Za-z][\w+.-]*[:,]", name)
            nested = inside and _is_playlist(file_named)
        except (OSError, ValueError, RuntimeError):  # a NUL, a circle of links
            inside = nested = False
        if not inside or (nested and depth == _MAX_DEPTH) or len(text) > _MAX_BYTES:
            raise VideoError(
                f"{recording}: a playlist that names '{visible(name[:100])}'; expected files in the playlist's folder: "
                "join its parts into one video file"
            )
        if nested:
            _check(recording, file_named, folder, depth + 1)
