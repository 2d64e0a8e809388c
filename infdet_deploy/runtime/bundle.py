"""A bundle on disk, checked before anything in it is used. Nothing in it is executed by unpickling.

`NAME.infdet/manifest.json` describes the folder:
1. `format`: 1; a higher number is refused.
2. `name`, `made_by`: what was exported, and by which versions.
3. `model`: the network's configuration; `preprocessing`: how frames become the network's input.
4. `classes` and `rule`: class names, thresholds, mean durations (seconds).
5. `stages`: for every stage its tensors and, per precision and format, its file.
6. `parity`: how far each exported stage was from the network when it was written.
7. `files`: size and SHA-256 of every other file of the folder.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infdet_deploy.config import from_dict
from infdet_deploy.errors import BundleError, ConfigError, UsageError
from infdet_deploy.files import sha256, write_json
from infdet_deploy.runtime.detections import DetectionRule

FORMAT = 1
MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"  # the network that the stages were made from, where the bundle holds it
STAGES = ("fen", "infrared_tower", "flow_tower", "head")
# The stages of a network with these streams, in the order in which data passes them.
STAGES_OF = {"both": STAGES, "infrared": ("infrared_tower", "head"), "flow": ("fen", "flow_tower", "head")}


@dataclass(frozen=True)
class Bundle:
    """A checked bundle: where it is and what its manifest says."""

    path: Path
    manifest: dict[str, Any]

    @property
    def name(self) -> str:
        return self.manifest["name"]

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.manifest["classes"])

    @property
    def stages(self) -> tuple[str, ...]:
        """The network's stages, in the order in which data passes them."""
        return STAGES_OF[self.manifest["model"].get("streams", "both")]

    @property
    def task(self) -> str:
        """`detection` of timed instances, or `recognition` of trimmed clips."""
        return self.manifest["model"].get("task", "detection")

    @property
    def operators(self) -> str:
        """`2d` where no stage has a 3D operator, else `3d`; both compute the same."""
        return self.manifest.get("operators", "3d")

    @property
    def size(self) -> int:
        """Height and width of the frames in pixels."""
        return self.manifest["preprocessing"]["size"]

    @property
    def frame_mode(self) -> str:
        """`resize` or `crop`: how a recording's pictures become size×size frames."""
        return self.manifest["preprocessing"]["mode"]

    @property
    def rule(self) -> DetectionRule:
        try:
            return from_dict(DetectionRule, self.manifest["rule"], "rule")
        except ConfigError as error:
            raise BundleError(f"{self.path / MANIFEST} is damaged: {error}") from None

    @property
    def precisions(self) -> tuple[str, ...]:
        """Precisions that every stage is held in, as ONNX."""
        return self.precisions_as("onnx")

    def precisions_as(self, form: str) -> tuple[str, ...]:
        """Precisions that every stage is held in, in one format (`onnx`, `torchscript`); float32 first."""
        held = [set(stage["files"].get(form, {})) for stage in self.manifest["stages"].values()]
        return tuple(sorted(set.intersection(*held), reverse=True)) if held else ()

    def stage_file(self, stage: str, precision: str, form: str = "onnx") -> Path:
        """The file of one stage; raises UsageError when the bundle does not hold that precision or format."""
        files = self.manifest["stages"][stage]["files"].get(form, {})
        if precision not in files:
            have = ", ".join(files) or "none"
            raise UsageError(f"{self.path} has no {precision} {form} of {stage}; it has {have}")
        return self.path / files[precision]


def load_bundle(path: Path | str) -> Bundle:
    """Check a bundle folder whole and give it back.

    Raises BundleError naming the file when one is missing, changed, not listed, a link or outside the folder, when
    the manifest is not readable, or when a newer version wrote it.
    """
    path = Path(path)
    if not path.is_dir():
        raise BundleError(f"no such bundle: {path} (a folder NAME.infdet that infdet-deploy export writes)")
    manifest = _read_manifest(path / MANIFEST)
    bundle = Bundle(path, manifest)
    try:
        _check(bundle)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        raise BundleError(f"{path / MANIFEST} is damaged: an entry is missing or of the wrong kind ({what})") from None
    return bundle


def store_thresholds(bundle: Bundle, thresholds: Sequence[float]) -> Bundle:
    """Put other thresholds into a bundle's manifest, the rest of which stays as it is; gives the bundle back with them.

    The manifest is not among the files that it lists with their SHA-256, so the bundle still passes `load_bundle`.
    """
    manifest = {**bundle.manifest, "rule": {**bundle.manifest["rule"], "thresholds": list(thresholds)}}
    write_json(bundle.path / MANIFEST, manifest)
    return Bundle(bundle.path, manifest)


def _check(bundle: Bundle) -> None:
    path, manifest = bundle.path, bundle.manifest
    preprocessing = manifest["preprocessing"]
    if type(preprocessing["size"]) is not int or preprocessing["mode"] not in ("resize", "crop"):
        raise BundleError(f"{path / MANIFEST} is damaged: preprocessing is {preprocessing}")
    if not bundle.classes or not all(isinstance(label, str) for label in bundle.classes):
        raise BundleError(f"{path / MANIFEST} is damaged: classes are {manifest['classes']}")
    _check_files(path, manifest["files"])
    listed = set(manifest["files"])
    for stage in bundle.stages:
        if stage not in manifest["stages"]:
            raise BundleError(f"{path}: stage '{stage}' is missing from the manifest; export again")
        entry = manifest["stages"][stage]
        for end in ("inputs", "outputs"):
            if not all(isinstance(tensor["name"], str) for tensor in entry[end]):
                raise BundleError(f"{path / MANIFEST} is damaged: {end} of {stage} have no names")
        for form, files in entry["files"].items():
            for precision, name in files.items():
                if name not in listed:
                    raise BundleError(
                        f"{path}: {stage} {precision} {form} is '{name}', which the manifest does not list"
                    )
    if len(bundle.rule.thresholds) != len(bundle.classes):
        raise BundleError(f"{path}: {len(bundle.classes)} classes but {len(bundle.rule.thresholds)} thresholds")


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(f"{path.parent} is not a bundle: it has no {MANIFEST}") from None
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} is damaged: {error}") from None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("format"), int):
        raise BundleError(f"{path} is damaged: it has no format number")
    if manifest["format"] > FORMAT:
        raise BundleError(
            f"{path} has format {manifest['format']}, this version reads up to {FORMAT}: update infdet-deploy"
        )
    for key in ("name", "model", "preprocessing", "classes", "rule", "stages", "files"):
        if key not in manifest:
            raise BundleError(f"{path} is damaged: '{key}' is missing")
    return manifest


def _check_files(folder: Path, files: dict[str, dict[str, Any]]) -> None:
    present = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_symlink() or not file.is_dir()}
    for name in sorted(present - set(files) - {MANIFEST}):
        raise BundleError(f"{folder}: file '{name}' is not listed in the manifest; remove it or export again")
    for name, entry in files.items():
        file = folder / name
        if file.is_symlink() or not file.resolve().is_relative_to(folder.resolve()):
            raise BundleError(f"{folder}: '{name}' is a link or leads outside the bundle; refused")
        if not file.is_file():
            raise BundleError(f"{folder}: file '{name}' is missing; copy the bundle again or export it again")
        if file.stat().st_size != entry["bytes"] or sha256(file) != entry["sha256"]:
            raise BundleError(f"{folder}: file '{name}' was changed since it was exported (SHA-256 differs)")
