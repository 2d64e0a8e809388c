"""The kinds of things that can be evaluated."""

from pathlib import Path
from typing import Literal

from infdet_deploy.bundle.manifest import MANIFEST
from infdet_deploy.errors import UsageError

Kind = Literal["detections", "checkpoint", "bundle"]


def kind_of(subject: Path) -> Kind:
    """The kind of a path. Raises UsageError for anything that cannot be evaluated."""
    expected = "expected a detection file, a run folder, a .safetensors checkpoint or a bundle NAME.infdet"
    if not subject.exists():
        raise UsageError(f"{subject}: no such file or folder; {expected}")
    if subject.is_dir():
        if subject.suffix == ".infdet" or (subject / MANIFEST).is_file():
            return "bundle"
        from infdet_deploy.training.run_folder import BEST

        if (subject / BEST).is_file():
            return "checkpoint"
        raise UsageError(f"{subject} is a folder without {BEST} and {MANIFEST}, neither run nor bundle; {expected}")
    if subject.suffix == ".safetensors":
        return "checkpoint"
    with open(subject, "rb") as file:
        if b"\0" in file.read(1024):
            raise UsageError(f"{subject} is neither text nor a .safetensors file; {expected}")
    return "detections"
