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

import os
import stat
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self, cast

from infdet_deploy.bundle.external_data import has_external_data
from infdet_deploy.bundle.manifest import MANIFEST, damaged, is_file_name, read_manifest, short, write_manifest
from infdet_deploy.bundle.schema import STAGES as STAGES
from infdet_deploy.bundle.schema import STAGES_OF, FileEntry, Incremental, Manifest, StageEntry
from infdet_deploy.bundle.schema import TOWERS as TOWERS
from infdet_deploy.bundle.schema import stream_stage as stream_stage
from infdet_deploy.bundle.tolerances import PRECISIONS
from infdet_deploy.detections import DetectionRule
from infdet_deploy.errors import BundleError, UsageError
from infdet_deploy.files import sha256
from infdet_deploy.system import cpu_count

if TYPE_CHECKING:
    from infdet_deploy.video.resize import Mode

WEIGHTS = "weights.safetensors"  # the network that the stages were made from, where the bundle contains it
NETWORK = "network"  # all stages joined in one graph, where the bundle contains it
MAX_THREADS = 8  # that check a bundle's files; more wait for the disk


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
        """The network's stages, in the order in which data passes them."""
        return STAGES_OF[self.manifest.streams]

    @property
    def task(self) -> str:
        """`detection` of timed instances, or `recognition` of trimmed clips."""
        return self.manifest.task

    @property
    def operators(self) -> str:
        """`2d` where no stage has a 3D operator, else `3d`; both compute the same."""
        return self.manifest.operators

    @property
    def size(self) -> int:
        """Height and width of the frames in pixels."""
        return self.manifest.preprocessing.size

    @property
    def frame_mode(self) -> "Mode":
        """`resize` or `crop`: how a recording's pictures become size×size frames."""
        return cast("Mode", self.manifest.preprocessing.mode)

    @property
    def fps(self) -> float | None:
        """Frames per second of the clips that the network was trained on; None where that is not known."""
        return self.manifest.preprocessing.fps

    @property
    def rule(self) -> DetectionRule:
        return self.manifest.rule

    @property
    def incremental(self) -> Incremental | None:
        """The towers as steps; None for a bundle exported without `--stream`."""
        return self.manifest.incremental

    def with_thresholds(self, thresholds: Mapping[str, float]) -> "Bundle":
        """The same bundle with other thresholds, class → 0–1, for the classes named; its files stay as they are."""
        changed = {**dict(zip(self.classes, self.rule.thresholds, strict=True)), **thresholds}
        rule = replace(self.rule, thresholds=tuple(changed[label] for label in self.classes))
        return Bundle(self.path, replace(self.manifest, rule=rule))

    def entry(self, stage: str) -> StageEntry:
        """A stage's tensors and files; of a tower as steps as well."""
        steps = self.incremental.stages if self.incremental else {}
        return self.manifest.stages[stage] if stage in self.manifest.stages else steps[stage]

    def digest(self, name: str) -> str | None:
        """SHA-256 of one of its files; None where the manifest is still without `files`."""
        entry = self.manifest.files.get(name)
        return entry.sha256 if entry else None

    @property
    def precisions(self) -> tuple[str, ...]:
        """Precisions that every stage has as ONNX."""
        return self.precisions_as("onnx")

    def precisions_as(self, format: str) -> tuple[str, ...]:
        """Precisions that every stage has in one format (`onnx`, `torchscript`); float32 first."""
        files = [self.manifest.stages[stage].files.get(format, {}) for stage in self.stages]
        return tuple(precision for precision in PRECISIONS if all(precision in one for one in files))

    def form_for(self, stage: str, precision: str, backend: str, format: str) -> str:
        """The format of the file that a backend runs: one made for it and named after it, else the format it reads."""
        return backend if precision in self.entry(stage).files.get(backend, {}) else format

    def stage_file(self, stage: str, precision: str, format: str = "onnx") -> Path:
        """The file of one stage; raises UsageError when the bundle does not contain that precision or format."""
        files = self.entry(stage).files.get(format, {})
        if precision not in files:
            have = ", ".join(files) or "none"
            raise UsageError(f"{self.path} has no {precision} {format} of {stage}; it has {have}")
        return self.path / files[precision]


class BundleCheck:
    """A bundle whose manifest is read and whose files are being hashed in threads.

    unchecked: the bundle as its manifest describes it, to prepare what needs none of its files. Use as a context;
    `result` waits. Raises as `load_bundle`.
    """

    def __init__(self, path: Path | str) -> None:
        path = Path(path)
        if not path.is_dir():
            raise BundleError(f"no such bundle: {path} (a folder NAME.infdet that infdet-deploy export writes)")
        self.unchecked = Bundle(path, Manifest.from_json(path, read_manifest(path)))
        files = self.unchecked.manifest.files
        _check_names(path, files)
        self._threads = ThreadPoolExecutor(min(cpu_count(), MAX_THREADS))
        # The largest first, so that no thread is left alone with it at the end. Hashing releases the interpreter lock.
        names = sorted(files, key=lambda name: _size(path, files[name]), reverse=True)
        self._checks: dict[str, Future[None]] = {
            name: self._threads.submit(check_file, path, name, files[name]) for name in names
        }

    def result(self) -> Bundle:
        """The bundle, when all its files are checked."""
        for name in self.unchecked.manifest.files:  # of several damaged files, name the first that is listed
            self._checks[name].result()
        return self.unchecked

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)


def load_bundle(path: Path | str) -> Bundle:
    """Check a bundle folder and all its files.

    Raises BundleError naming the file when one is missing, changed, not listed, a link or outside the folder, when an
    ONNX file keeps data in another file, when the manifest is not readable, or when a newer version wrote it.
    """
    with BundleCheck(path) as check:
        return check.result()


def store_thresholds(bundle: Bundle, thresholds: Sequence[float]) -> Bundle:
    """Write other thresholds into a bundle's manifest, the rest of which stays as it is; returns the changed bundle.

    The manifest gets its new digest, so the bundle still passes `load_bundle`; a signature has to be made again.
    """
    changed = bundle.with_thresholds(dict(zip(bundle.classes, thresholds, strict=True)))
    data = read_manifest(bundle.path)
    data["rule"]["thresholds"] = list(changed.rule.thresholds)
    # Written next to the bundle: a killed process would leave a file inside that is not listed.
    write_manifest(bundle.path, data, staging=bundle.path.resolve().parent)
    return changed


def check_file(folder: Path, name: str, entry: FileEntry) -> None:
    """Check one listed file: it is there, plain, of the size and SHA-256 listed, and keeps its data in itself.

    Raises BundleError naming the file.
    """
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
            external = has_external_data(file)
        except ValueError as error:
            raise BundleError(f"{folder}: '{name}' is not an ONNX file ({error}); export again") from None
        if external:
            raise BundleError(f"{folder}: '{name}' keeps tensors in another file (external data); refused")


def _check_names(folder: Path, files: Mapping[str, FileEntry]) -> None:
    """Whether the folder contains what the manifest lists and nothing else."""
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


def _size(folder: Path, entry: FileEntry) -> int:
    if type(entry.bytes) is not int:
        raise damaged(folder, f"the size of a file is {entry.bytes}")
    return entry.bytes
