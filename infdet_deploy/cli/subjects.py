"""Which kind of thing a path on the command line is, and which bundle to use if none is named."""

from collections.abc import Sequence
from pathlib import Path

from infdet_deploy.addresses import redacted
from infdet_deploy.bundle.pretrained import FOLDER, NOTE, bundle_folder
from infdet_deploy.console import say
from infdet_deploy.errors import UsageError
from infdet_deploy.files import ARRAY_SUFFIXES, IMAGE_SUFFIXES, TIFF_SUFFIXES, VIDEO_SUFFIXES

_BY_SUFFIX = {
    **dict.fromkeys(IMAGE_SUFFIXES, "picture"),
    **dict.fromkeys((*VIDEO_SUFFIXES, *TIFF_SUFFIXES, *ARRAY_SUFFIXES), "recording"),
    **dict.fromkeys((".safetensors", ".pt", ".pth"), "checkpoint"),
    **dict.fromkeys((".json", ".txt"), "annotation file"),
    ".onnx": "single ONNX stage",
}
# What a file or folder of an unknown name may be.
_MAY_BE = {"file": {"recording", "checkpoint", "annotation file"}, "folder": {"recording", "data set"}}
_HINTS = {
    "bundle": "a bundle is a folder NAME.infdet written by `infdet-deploy export`",
    "recording": "a recording is a video file or a folder of images",
    "run": "a run is a folder written by `infdet-deploy train`",
    "checkpoint": "a checkpoint is a .safetensors file",
    "data set": "a data set is a folder with annotations and videos; `infdet-deploy dataset synth` makes one",
}


def kind_of(path: Path) -> str | None:
    """What a path is, by names only: "bundle", "run", "data set", "recording", "checkpoint", "annotation file",
    …, "folder" or "file"; None for a path that does not exist."""
    path = bundle_folder(path)
    if path.is_dir():
        names = {entry.name.lower() for entry in path.iterdir()}
        if "manifest.json" in names or path.suffix == ".infdet":
            return "bundle"
        if names & {"run.json", "best.safetensors", "last.safetensors"}:
            return "run"
        if "annotations.json" in names or "videos" in names:
            return "data set"
        return "recording" if any(name.endswith(IMAGE_SUFFIXES) for name in names) else "folder"
    return _BY_SUFFIX.get(path.suffix.lower(), "file") if path.exists() else None


def expect(path: Path, *kinds: str) -> Path:
    """The path, unless it is missing or recognised as another kind of thing than `kinds`: then UsageError."""
    kind = kind_of(path)
    wanted = " or ".join(map(_with_article, kinds))
    if kind is None:
        raise UsageError(f"{redacted(str(path))}: no such file or folder; expected {wanted}")
    if kind not in kinds and not set(kinds) & _MAY_BE.get(kind, set()):
        hints = "; ".join(_HINTS[wanted_kind] for wanted_kind in kinds if wanted_kind in _HINTS)
        raise UsageError(f"{path} is {_with_article(kind)}, not {wanted}{hints and '; '}{hints}")
    return path


def _with_article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def bundle_path(path: Path | None) -> Path:
    """The bundle that a command was given, or the newest bundle in this folder, or the pretrained one; with a note.

    Raises UsageError for a path that is no bundle.
    """
    if path is not None and bundle_folder(path) == path:
        return expect(path, "bundle")
    why = ""
    if path is None:
        if found := sorted(Path().glob("*.infdet"), key=lambda bundle: bundle.stat().st_mtime_ns):
            say(f"note: using {found[-1]}, the newest bundle here")
            return found[-1]
        why = "no bundle here, using `pretrained`; "
    say(f"note: {why}{NOTE}")
    return FOLDER


def split_bundle(words: Sequence[str], rest: str) -> tuple[Path, list[str]]:
    """Split `[BUNDLE] SOURCE...`. Without a bundle, the newest one here or the pretrained one is used.

    rest: the kind of source, for messages ("recording"). Raises UsageError without a bundle or a source, and for a
    bundle, run or checkpoint among the sources.
    """
    named = bool(words) and (words[0].endswith(".infdet") or kind_of(Path(words[0])) in ("bundle", "run", "checkpoint"))
    sources = list(words[1:] if named else words)
    for word in sources:
        if (kind := kind_of(Path(word))) == "bundle":
            raise UsageError(f"{word} is a bundle; name it first, before {_with_article(rest)}")
        if kind in ("run", "checkpoint"):
            raise UsageError(f"{word} is {_with_article(kind)}, not {_with_article(rest)}")
    bundle = bundle_path(Path(words[0]) if named else None)
    if not sources:
        raise UsageError(f"name {_with_article(rest)} after the bundle")
    return bundle, sources


def recording_paths(words: Sequence[str]) -> list[Path]:
    """Recordings by path. Raises UsageError for an address of a camera and for a path that does not exist."""
    for word in words:
        if "://" in word or word.startswith("v4l2:"):
            raise UsageError(f"{redacted(word)} is a camera; use `infdet-deploy watch` for cameras")
    return [expect(Path(word), "recording", "data set") for word in words]
