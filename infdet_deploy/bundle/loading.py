"""A bundle on disk, checked before anything in it is used. Nothing is unpickled.

`NAME.infdet/manifest.json` describes the folder:
1. `sha256`: of the manifest itself (`manifest.py`); `format`: 2; a higher number is refused.
2. `name`, `made_by`: what was exported, and by which versions.
3. `model`: the network's configuration; `preprocessing`: how frames become the network's input.
4. `classes` and `rule`: class names, thresholds, mean durations (seconds).
5. `stages`: the tensors of every stage and its file for each precision and format.
6. `stream`: the incremental towers, if any, with tensors and files as in `stages`.
7. `parity`: the error of each exported stage against the network.
8. `files`: size and SHA-256 of every other file. The folder has no subfolders.
"""

import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from infdet_deploy.bundle.manifest import MANIFEST, is_file_name, read_manifest, short, write_manifest
from infdet_deploy.bundle.onnx_file import fault
from infdet_deploy.bundle.pretrained import bundle_folder, refuse_pretrained
from infdet_deploy.bundle.schema import FIXED_SHAPES, STAGES_OF, FileEntry, Incremental, Manifest, StageEntry
from infdet_deploy.bundle.tolerances import PRECISIONS
from infdet_deploy.detections import DetectionRule
from infdet_deploy.errors import BundleError, UsageError
from infdet_deploy.files import sha256
from infdet_deploy.system import cpu_count
from infdet_deploy.video.preparation import Preparation

WEIGHTS = "weights.safetensors"  # the network that the stages were made from, if included
NETWORK = "network"  # all stages joined in one graph, if included
MAX_THREADS = 8  # to check files; more would wait for the disk


@dataclass(frozen=True)
class Bundle:
    """A checked bundle: its folder and its manifest."""

    path: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def classes(self) -> tuple[str, ...]:
        return self.manifest.classes

    @property
    def stages(self) -> tuple[str, ...]:
        """The network's stages, in the order of the data flow."""
        return STAGES_OF[self.manifest.streams]

    @property
    def task(self) -> str:
        """`detection` of timed instances, or `recognition` of trimmed clips."""
        return self.manifest.task

    @property
    def operators(self) -> str:
        """`2d` if no stage has a 3D operator, else `3d`; the results are the same."""
        return self.manifest.operators

    @property
    def size(self) -> int:
        """Height and width of the frames in pixels."""
        return self.manifest.preprocessing.size

    @property
    def preparation(self) -> Preparation:
        """How a recording becomes the network's frames."""
        stored = self.manifest.preprocessing
        return Preparation(stored.size, stored.mode, stored.levels, stored.frame_rate, stored.fps)

    @property
    def fps(self) -> float | None:
        """Frames per second of the training clips; None if unknown."""
        return self.manifest.preprocessing.fps

    @property
    def rule(self) -> DetectionRule:
        return self.manifest.rule

    @property
    def incremental(self) -> Incremental | None:
        """The incremental towers, for live video; None if the bundle has none."""
        return self.manifest.incremental

    def with_thresholds(self, thresholds: Mapping[str, float]) -> "Bundle":
        """This bundle with some thresholds replaced, class → 0–1; its files do not change."""
        changed = {**dict(zip(self.classes, self.rule.thresholds, strict=True)), **thresholds}
        rule = replace(self.rule, thresholds=tuple(changed[label] for label in self.classes))
        return Bundle(self.path, replace(self.manifest, rule=rule))

    def entry(self, stage: str) -> StageEntry:
        """The tensors and files of a stage or an incremental tower."""
        return self.manifest.all_stages[stage]

    def digest(self, name: str) -> str | None:
        """SHA-256 of a file; None if the manifest has no `files` yet."""
        entry = self.manifest.files.get(name)
        return entry.sha256 if entry else None

    @property
    def precisions(self) -> tuple[str, ...]:
        """Precisions in which every stage is available as ONNX."""
        return self.precisions_as("onnx")

    def precisions_as(self, format: str) -> tuple[str, ...]:
        """Precisions in which every stage is available in a format (`onnx`, `torchscript`); float32 first."""
        files = [self.manifest.stages[stage].files.get(format, {}) for stage in self.stages]
        return tuple(precision for precision in PRECISIONS if all(precision in one for one in files))

    def file_for(self, backend: str, stage: str, precision: str, format: str = "onnx") -> Path:
        """The file of one stage that a backend runs: made for this backend, else in the format it reads."""
        made_for_it = precision in self.entry(stage).files.get(backend, {})
        return self.stage_file(stage, precision, backend if made_for_it else format)

    def fixed_shapes_file(self, backend: str, stage: str, precision: str) -> Path | None:
        """The file of one stage that a backend runs where the shapes of all inputs are fixed; None for no other."""
        files = self.entry(stage).files.get(FIXED_SHAPES, {}) if backend == "openvino" else {}
        return self.path / files[precision] if precision in files else None

    def stage_file(self, stage: str, precision: str, format: str = "onnx") -> Path:
        """The file of one stage. Raises UsageError if the bundle lacks the precision or format."""
        files = self.entry(stage).files.get(format, {})
        if precision not in files:
            have = ", ".join(files) or "none"
            raise UsageError(f"{self.path} has no {precision} {format} of {stage}; it has {have}")
        return self.path / files[precision]


@contextmanager
def open_bundle(path: Path | str) -> Iterator[tuple[Bundle, Callable[[], Bundle]]]:
    """Check a bundle's files in threads while the caller works. Raises as `load_bundle`.

    Yields the unchecked bundle, for work that reads none of its files, and a function that returns it once all files
    are checked.
    """
    path = bundle_folder(path)
    if not path.is_dir():
        raise BundleError(f"no such bundle: {path} (a folder NAME.infdet that infdet-deploy export writes)")
    bundle = Bundle(path, Manifest.from_json(path, read_manifest(path)))
    files = bundle.manifest.files
    _check_names(path, files)
    threads = ThreadPoolExecutor(min(cpu_count(), MAX_THREADS))
    # The largest files first, to balance the threads. Hashing releases the interpreter lock.
    names = sorted(files, key=lambda name: files[name].bytes, reverse=True)
    checks = {name: threads.submit(check_file, path, name, files[name]) for name in names}

    def checked() -> Bundle:
        for name in files:  # of several damaged files, report the first listed
            checks[name].result()
        return bundle

    try:
        yield bundle, checked
    finally:
        threads.shutdown(cancel_futures=True)


def load_bundle(path: Path | str) -> Bundle:
    """Check a bundle folder and all its files. path: the folder, or "pretrained".

    Raises BundleError if a file is missing, changed, not listed, a link or outside the folder, if an ONNX file has
    data in another file or an operator that no export contains, if the manifest is damaged, or if a newer version
    wrote it.
    """
    with open_bundle(path) as (_, checked):
        return checked()


def store_thresholds(bundle: Bundle, thresholds: Sequence[float]) -> Bundle:
    """Replace the thresholds in a bundle's manifest; returns the changed bundle.

    The manifest's digest is updated, so `load_bundle` accepts the bundle; a signature must be made again. Raises
    UsageError for the pretrained network.
    """
    refuse_pretrained(bundle.path)
    changed = bundle.with_thresholds(dict(zip(bundle.classes, thresholds, strict=True)))
    data = read_manifest(bundle.path)
    data["rule"]["thresholds"] = list(changed.rule.thresholds)
    # Staged outside the bundle: a killed process must not leave an unlisted file inside.
    write_manifest(bundle.path, data, staging=bundle.path.resolve().parent)
    return changed


def check_file(folder: Path, name: str, entry: FileEntry) -> None:
    """Raise BundleError if a listed file is missing, a link, changed, or an ONNX file with what `onnx_file`
    refuses."""
    file = folder / name
    try:
        found = file.lstat()
    except FileNotFoundError:
        raise BundleError(f"{folder}: file '{name}' is missing; copy the bundle again or export it again") from None
    if not stat.S_ISREG(found.st_mode):
        raise BundleError(f"{folder}: '{name}' is a link or no file at all; refused")
    if found.st_size != entry.bytes or sha256(file) != entry.sha256:
        raise BundleError(f"{folder}: file '{name}' was changed since it was exported (SHA-256 differs)")
    if name.endswith(".onnx"):
        try:
            why = fault(file)
        except ValueError as error:
            raise BundleError(f"{folder}: '{name}' is not an ONNX file ({error}); export again") from None
        if why:
            raise BundleError(f"{folder}: '{name}' {why}; refused")


def _check_names(folder: Path, files: Mapping[str, FileEntry]) -> None:
    """Raise BundleError for a bad name in the manifest, or a file that the manifest does not list."""
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
