"""A bundle on disk, checked before anything in it is used. Nothing in it is executed by unpickling.

`NAME.infdet/manifest.json` describes the folder:
1. `sha256`: of the manifest itself (`manifest.py`); `format`: 2; a higher number is refused.
2. `name`, `made_by`: what was exported, and by which versions.
3. `model`: the network's configuration; `preprocessing`: how frames become the network's input.
4. `classes` and `rule`: class names, thresholds, mean durations (seconds).
5. `stages`: for every stage its tensors and, per precision and format, its file.
6. `stream`: the towers as steps, where the bundle holds them, with tensors and files as in `stages`.
7. `parity`: how far each exported stage was from the network when it was written.
8. `files`: size and SHA-256 of every other file of the folder, which has no folders in it.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infdet_deploy.bundle.external_data import has_external_data
from infdet_deploy.bundle.manifest import (
    MANIFEST,
    WRONG_ENTRY,
    damaged,
    is_file_name,
    read_manifest,
    short,
    write_manifest,
)
from infdet_deploy.bundle.tolerances import PRECISIONS
from infdet_deploy.config import from_dict
from infdet_deploy.detections import DetectionRule
from infdet_deploy.errors import BundleError, ConfigError, UsageError
from infdet_deploy.files import sha256
from infdet_deploy.system import cpu_count

if TYPE_CHECKING:
    from infdet_deploy.video.resize import Mode

WEIGHTS = "weights.safetensors"  # the network that the stages were made from, where the bundle holds it
STAGES = ("fen", "infrared_tower", "flow_tower", "head")
TOWERS = ("infrared_tower", "flow_tower")
NETWORK = "network"  # all stages joined in one graph, where the bundle holds it
# The stages of a network with these streams, in the order in which data passes them.
STAGES_OF = {"both": STAGES, "infrared": ("infrared_tower", "head"), "flow": ("fen", "flow_tower", "head")}

MOST_THREADS = 8  # that check a bundle's files; more wait for the disk


def stream_stage(tower: str) -> str:
    """The name of a tower as steps: `infrared_tower_stream`."""
    return f"{tower}_stream"


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
    def frame_mode(self) -> "Mode":
        """`resize` or `crop`: how a recording's pictures become size×size frames."""
        return self.manifest["preprocessing"]["mode"]

    @property
    def fps(self) -> float | None:
        """Frames per second of the clips that the network was trained on; None where that is not known."""
        return self.manifest["preprocessing"].get("fps")

    @property
    def rule(self) -> DetectionRule:
        try:
            return from_dict(DetectionRule, self.manifest["rule"], "rule")
        except ConfigError as error:
            raise damaged(self.path, error) from None

    def with_thresholds(self, thresholds: Mapping[str, float]) -> "Bundle":
        """The same bundle with other thresholds, class → 0–1, for the classes named; its files stay as they are."""
        found = {**dict(zip(self.classes, self.rule.thresholds, strict=True)), **thresholds}
        rule = {**self.manifest["rule"], "thresholds": [found[label] for label in self.classes]}
        return Bundle(self.path, {**self.manifest, "rule": rule})

    @property
    def stream(self) -> dict[str, Any] | None:
        """What the manifest says of the towers as steps; None for a bundle exported without `--stream`."""
        return self.manifest.get("stream")

    def entry(self, stage: str) -> dict[str, Any]:
        """A stage's tensors and files; of a tower as steps as well."""
        stages = self.manifest["stages"]
        return stages[stage] if stage in stages or self.stream is None else self.stream["stages"][stage]

    def digest(self, name: str) -> str | None:
        """SHA-256 of one of its files; None where the manifest is still without `files`."""
        return self.manifest.get("files", {}).get(name, {}).get("sha256")

    @property
    def precisions(self) -> tuple[str, ...]:
        """Precisions that every stage is held in, as ONNX."""
        return self.precisions_as("onnx")

    def precisions_as(self, form: str) -> tuple[str, ...]:
        """Precisions that every stage is held in, in one format (`onnx`, `torchscript`); float32 first."""
        held = [set(self.manifest["stages"][stage]["files"].get(form, {})) for stage in self.stages]
        return tuple(precision for precision in PRECISIONS if all(precision in files for files in held))

    def form_for(self, stage: str, precision: str, backend: str, form: str) -> str:
        """The format of the file that a backend runs: one made for it, called like it, before the format it reads."""
        return backend if precision in self.entry(stage)["files"].get(backend, {}) else form

    def stage_file(self, stage: str, precision: str, form: str = "onnx") -> Path:
        """The file of one stage; raises UsageError when the bundle does not hold that precision or format."""
        files = self.entry(stage)["files"].get(form, {})
        if precision not in files:
            have = ", ".join(files) or "none"
            raise UsageError(f"{self.path} has no {precision} {form} of {stage}; it has {have}")
        return self.path / files[precision]


def load_bundle(path: Path | str, meanwhile: Callable[[Bundle], None] = lambda bundle: None) -> Bundle:
    """Check a bundle folder whole and give it back.

    meanwhile: called while the files are hashed, with the bundle as its manifest describes it, to prepare what needs
    none of them; it must run nothing. Where it fails, the bundle is given back without what it prepares.
    Raises BundleError naming the file when one is missing, changed, not listed, a link or outside the folder, when an
    ONNX file keeps data in another file, when the manifest is not readable, or when a newer version wrote it.
    """
    path = Path(path)
    if not path.is_dir():
        raise BundleError(f"no such bundle: {path} (a folder NAME.infdet that infdet-deploy export writes)")
    bundle = Bundle(path, read_manifest(path))
    try:
        _check_content(bundle)
        _check_files(path, bundle.manifest["files"], partial(meanwhile, bundle))
    except WRONG_ENTRY as error:
        raise damaged(path, f"an entry is missing or of the wrong kind ({type(error).__name__}: {error})") from None
    return bundle


def store_thresholds(bundle: Bundle, thresholds: Sequence[float]) -> Bundle:
    """Put other thresholds into a bundle's manifest, the rest of which stays as it is; gives the bundle back with them.

    The manifest gets its new digest, so the bundle still passes `load_bundle`; a signature has to be made again.
    """
    changed = bundle.with_thresholds(dict(zip(bundle.classes, thresholds, strict=True)))
    # Written beside the bundle: what a killed process leaves inside would be a file that is not listed.
    write_manifest(bundle.path, changed.manifest, staging=bundle.path.resolve().parent)
    return changed


def check_file(folder: Path, name: str, entry: dict[str, Any]) -> None:
    """Check one listed file: it is there, plain, of the size and SHA-256 listed, and its data are its own.

    Raises BundleError naming the file.
    """
    file = folder / name
    try:
        found = file.lstat()
    except FileNotFoundError:
        raise BundleError(f"{folder}: file '{name}' is missing; copy the bundle again or export it again") from None
    if not stat.S_ISREG(found.st_mode):
        raise BundleError(f"{folder}: '{name}' is a link or no file at all; refused")
    if found.st_size != entry["bytes"] or sha256(file) != entry["sha256"]:
        raise BundleError(f"{folder}: file '{name}' was changed since it was exported (SHA-256 differs)")
    if name.endswith(".onnx"):
        try:
            external = has_external_data(file)
        except ValueError as error:
            raise BundleError(f"{folder}: '{name}' is not an ONNX file ({error}); export again") from None
        if external:
            raise BundleError(f"{folder}: '{name}' keeps tensors in another file (external data); refused")


def _check_files(folder: Path, files: dict[str, dict[str, Any]], meanwhile: Callable[[], None]) -> None:
    for name in files:
        if not is_file_name(name):
            raise BundleError(
                f"{folder}: the manifest lists '{short(name)}', which leads outside the bundle or is not a plain "
                "file name; refused"
            )
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name not in files and entry.name != MANIFEST:
            what = "link" if entry.is_symlink() else "folder" if entry.is_dir() else "file"
            raise BundleError(
                f"{folder}: {what} '{short(entry.name)}' is not listed in the manifest; remove it or export again"
            )
    # The largest first, so that no thread is left alone with it at the end. Hashing holds no lock of the interpreter.
    names = sorted(files, key=lambda name: files[name]["bytes"], reverse=True)
    with ThreadPoolExecutor(min(cpu_count(), MOST_THREADS)) as threads:
        checks = {name: threads.submit(check_file, folder, name, files[name]) for name in names}
        try:
            with contextlib.suppress(Exception):
                meanwhile()
            for name in files:  # of several files at fault, name the one that the manifest lists first
                checks[name].result()
        finally:
            threads.shutdown(cancel_futures=True)


def _check_content(bundle: Bundle) -> None:
    """Whether the manifest's entries fit each other, as far as detection uses them."""
    path, manifest = bundle.path, bundle.manifest
    preprocessing = manifest["preprocessing"]
    size, mode = preprocessing["size"], preprocessing["mode"]
    if type(size) is not int or not 32 <= size <= 4096 or mode not in ("resize", "crop"):
        raise damaged(path, f"preprocessing is {preprocessing}")
    if bundle.fps is not None and not (type(bundle.fps) in (int, float) and bundle.fps > 0):
        raise damaged(path, f"preprocessing has fps {bundle.fps}, expected a number above 0")
    if not isinstance(bundle.name, str) or bundle.task not in ("detection", "recognition"):
        raise damaged(path, f"name is {bundle.name}, task is {bundle.task}")
    if not isinstance(manifest["classes"], list) or not all(isinstance(c, str) and c for c in bundle.classes):
        raise damaged(path, f"classes are {manifest['classes']}")
    if not bundle.classes or len(set(bundle.classes)) != len(bundle.classes):
        raise damaged(path, f"classes are {manifest['classes']}, expected at least one and no name twice")
    for stage in bundle.stages:
        if stage not in manifest["stages"]:
            raise BundleError(f"{path}: stage '{stage}' is missing from the manifest; export again")
    stream = bundle.stream or {"stages": {}}
    for stage, entry in (*manifest["stages"].items(), *stream["stages"].items()):
        _check_stage(path, stage, entry, set(manifest["files"]))
    if bundle.stream is not None:
        _check_stream(bundle, bundle.stream)
    if len(bundle.rule.thresholds) != len(bundle.classes):
        raise BundleError(f"{path}: {len(bundle.classes)} classes but {len(bundle.rule.thresholds)} thresholds")


def _check_stream(bundle: Bundle, stream: dict[str, Any]) -> None:
    numbers = [stream[name] for name in ("step_frames", "delay_frames", "features_lag", "history_frames")]
    if not all(type(number) is int and 0 < number < 1000 for number in numbers):
        raise damaged(bundle.path, f"the numbers of frames in stream are {numbers}")
    for tower in (stage for stage in bundle.stages if stage in TOWERS):
        entry = stream["stages"][stream_stage(tower)]
        for tensor in entry["inputs"][2:]:
            if tensor["dtype"] != "float32" or not all(type(size) is int and size > 0 for size in tensor["shape"]):
                raise damaged(bundle.path, f"state {tensor['name']} of {stream_stage(tower)} is {tensor}")


def _check_stage(path: Path, stage: str, entry: dict[str, Any], listed: set[str]) -> None:
    for end in ("inputs", "outputs"):
        if not all(isinstance(tensor["name"], str) for tensor in entry[end]):
            raise damaged(path, f"{end} of {stage} have no names")
    for form, files in entry["files"].items():
        for precision, name in files.items():
            what = short(f"{stage} {precision} {form} is '{name}'")
            if name not in listed:
                raise BundleError(f"{path}: {what}, which the manifest does not list")
            if form == "onnx" and not name.endswith(".onnx"):  # the ending is what has it looked into for external data
                raise BundleError(f"{path}: {what}, expected a name that ends in .onnx")
