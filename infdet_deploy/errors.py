"""Errors that a user can cause. Each message is one line: what was given, what was expected, what to do.

The command line prints the message and exits with `exit_status`; nothing else in the package ends the process.
"""

import errno
import re

from infdet_deploy.text import visible

_QUOTED = 800  # characters of a message that quotes a file


class InfdetError(Exception):
    """A file, a device or data is wrong. Base class of all errors below."""

    exit_status = 1


class UsageError(InfdetError):
    """The request is wrong: an unknown value, options that exclude each other, a path that does not exist."""

    exit_status = 2


class ConfigError(UsageError):
    """A configuration has an unknown key, a wrong type or a value out of range."""


class VideoError(InfdetError):
    """A recording is missing, unreadable, empty, damaged or too short."""


class AnnotationError(InfdetError):
    """An annotation or detection file does not follow its format; the message names file and line.

    The message quotes the file: control characters become visible, and the middle of a long message is left out.
    """

    def __init__(self, text: str) -> None:
        line = visible(text)
        super().__init__(line if len(line) <= _QUOTED else f"{line[: _QUOTED - 200]} … {line[-200:]}")


class WeightsError(InfdetError):
    """A checkpoint is missing entries, has wrong shapes, or cannot be read safely."""


class BundleError(InfdetError):
    """A bundle is incomplete, changed since it was written, or made by a newer version."""


class BackendError(InfdetError):
    """A backend is not installed, or cannot compile or run a graph."""


class ParityError(InfdetError):
    """An exported graph does not compute what the network computes."""


class TrainingError(InfdetError):
    """Training cannot continue: the loss is not finite, or the run does not fit its data."""


class Interrupted(InfdetError):
    """Ctrl-C or SIGTERM stopped the work; the message says how to resume."""

    exit_status = 130


def missing_package(package: str, extra: str, purpose: str) -> InfdetError:
    """The error for an optional dependency that is not installed."""
    return InfdetError(f"{purpose} needs the package {package}: pip install 'infdet-deploy[{extra}]'")


# Package to import → the extra that installs it.
_EXTRAS = {
    "torch": "train", "cv2": "train", "tensorboard": "train", "safetensors": "train", "onnx": "export",
    "onnxscript": "export", "onnxruntime": "onnxruntime", "cptv": "thermal", "tifffile": "thermal",
    "matplotlib": "plot", "tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt-rtx", "cuda": "tensorrt",
    "paho": "live", "prometheus_client": "live",
}  # fmt: skip


_POSITION = re.compile(r"Exception from \S+:\d+:|Check '.*?' failed at \S+:\d+:|^Summary:|^-- ")
_LONGEST = 300  # characters of a joined message


def exit_status(error: BaseException) -> int:
    """The exit status for an error: 2 if the request is wrong, 1 if a file, device or data is."""
    if isinstance(error, InfdetError):
        return error.exit_status
    return 2 if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError) else 1


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type if the message is empty.

    OpenVINO's messages begin with positions in its source files, and the reason takes several lines: they are joined.
    """
    lines = (str(error).strip() or type(error).__name__).splitlines()
    if not _POSITION.match(lines[0]):
        return lines[0]
    text = " ".join(" ".join(_POSITION.sub("", line) for line in lines).split())
    return (text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…") or lines[0]


def reason(error: BaseException) -> str:
    """Why something failed, in one line: the system's text, the message, or the type of the error."""
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__


def one_line(error: BaseException) -> str | None:
    """The one-line message of an error that a user can cause; None for a bug, which needs a traceback."""
    if isinstance(error, InfdetError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.split(".")[0] in _EXTRAS:
        package = error.name.split(".")[0]
        return str(missing_package(package, _EXTRAS[package], "this command"))
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        hint = "; free some space and run again: no unfinished file is left" if error.errno == errno.ENOSPC else ""
        return f"{error.strerror or error}{where}{hint}"
    return None
