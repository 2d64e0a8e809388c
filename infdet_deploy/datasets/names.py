"""Names of videos in annotations, in detections and on disk: which are of one video, and which were perhaps meant."""

import difflib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable

from infdet_deploy.errors import AnnotationError
from infdet_deploy.files import ARRAY_SUFFIXES, TIFF_SUFFIXES, VIDEO_SUFFIXES
from infdet_deploy.text import visible

_SUFFIXES = (*VIDEO_SUFFIXES, *TIFF_SUFFIXES, *ARRAY_SUFFIXES)
_SHOWN = 3  # names in a message


def canonical(name: str) -> str:
    """A name without the suffix of a recording; letters with accents in one form, whatever the file system uses."""
    name = unicodedata.normalize("NFC", name)
    stem, _, suffix = name.rpartition(".")
    return stem if stem and f".{suffix}".lower() in _SUFFIXES else name


def meet(found: Iterable[str], known: Iterable[str], where: str) -> dict[str, str]:
    """The known name of the same video for each found name that has one.

    Names are of one video if they are equal, perhaps but for the suffix of a recording, or if one is the other in a
    folder: `cam1/hall.mp4` and `hall`. Raises AnnotationError, which begins with `where`, if two found names fit one
    known name, or one fits two.
    """
    by_file = defaultdict(list)
    for name in known:
        by_file[canonical(name).rpartition("/")[2]].append(name)
    pairs: dict[str, str] = {}
    users: dict[str, str] = {}
    for name in sorted(set(found)):
        path = canonical(name)
        near = [one for one in by_file[path.rpartition("/")[2]] if _ends(path, canonical(one))]
        fits = [one for one in near if one == name] or [one for one in near if canonical(one) == path] or near
        if len(fits) > 1:
            raise AnnotationError(f"{where}: video '{name}' fits {quoted(fits)}; name it with its folder")
        for one in fits:
            if one in users:
                raise AnnotationError(
                    f"{where}: videos '{users[one]}' and '{name}' both fit clip '{one}'; name the clip with its folder"
                )
            pairs[name], users[one] = one, name
    return pairs


def _ends(one: str, other: str) -> bool:
    return one == other or one.endswith(f"/{other}") or other.endswith(f"/{one}")


def alike(name: str, names: Iterable[str]) -> str | None:
    """The first of `names` that differs only in case, separators, suffix, a prefix `v_` or a folder that one of them
    lacks; else None. So `cam1/hall` and `cam2/hall` are not alike."""
    key = _essence(name)
    return next((one for one in names if _ends(key, _essence(one))), None)


def _essence(name: str) -> str:
    folder, slash, file = canonical(name).casefold().rpartition("/")
    return re.sub(r"(?:[^\w/]|_)+", "_", f"{folder}{slash}{file.removeprefix('v_')}")


def nearest(name: str, names: Collection[str]) -> str:
    """The part of a message `; nearest to 'v_hall': 'hall'`, the name that is spelt most like it; "" if none is."""
    close = alike(name, names) or next(iter(difflib.get_close_matches(name, names, 1)), None)
    return f"; nearest to '{visible(name)}': '{visible(close)}'" if close is not None else ""


def quoted(names: Collection[str]) -> str:
    """The first three names, as `'a', 'b', 'c', …`."""
    return ", ".join(f"'{visible(name)}'" for name in list(names)[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
