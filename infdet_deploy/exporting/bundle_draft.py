"""A bundle while it is written: each writer adds files and their entries in the manifest."""

import dataclasses
import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from infdet_deploy import __version__
from infdet_deploy.bundle.golden import Tensors
from infdet_deploy.bundle.loading import NETWORK
from infdet_deploy.bundle.manifest import FORMAT, write_manifest
from infdet_deploy.bundle.onnx_file import fault
from infdet_deploy.bundle.schema import TOWERS, StageSpec
from infdet_deploy.bundle.tolerances import CHECK_FRAMES
from infdet_deploy.config import to_dict
from infdet_deploy.detections import default_rule
from infdet_deploy.errors import ParityError
from infdet_deploy.exporting.int8.quantization import INT8_FILES
from infdet_deploy.exporting.options import ExportOptions, OnProgress, Origin
from infdet_deploy.exporting.tensors import eager_tensors, stage_specs
from infdet_deploy.files import sha256
from infdet_deploy.model.network import InfDetNet
from infdet_deploy.snippets import FRAMES_PER_SNIPPET
from infdet_deploy.video.sample import sample_frames

_PACKAGES = ("torch", "onnx", "onnxscript", "numpy")


@dataclasses.dataclass
class Draft:
    """State that the writers share.

    specs: the stages to write. checks: the network's own tensors for each check clip, by stage and name. starts:
    precision → tower → its first endpoint in that precision, as for `build_stage`; filled while stages are written.
    """

    folder: Path
    network: InfDetNet
    options: ExportOptions
    specs: dict[str, StageSpec]
    checks: list[Tensors]
    manifest: dict[str, Any]
    report: Callable[[str], None] = lambda what: None
    starts: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)

    @property
    def towers(self) -> tuple[str, ...]:
        return tuple(stage for stage in self.specs if stage in TOWERS)

    def inputs(self, stage: str, tensors: Tensors) -> tuple[torch.Tensor, ...]:
        """A stage's inputs from the result of `eager_tensors`."""
        return tuple(torch.from_numpy(tensors[stage][name]) for name in self.specs[stage].input_names)


def new_draft(
    folder: Path, name: str, network: InfDetNet, options: ExportOptions, origin: Origin, on_progress: OnProgress | None
) -> Draft:
    """A draft without files. name: the bundle's."""
    specs = {n: spec for n, spec in stage_specs(network).items() if options.whole_network or n != NETWORK}
    config = network.config
    preprocessing = {
        "size": config.size, "mode": origin.frame_mode, "dtype": "uint8", "channels": 1, "levels": config.levels,
        "frame_rate": config.frame_rate, "fps": origin.fps,
    }  # fmt: skip
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "name": name,
        "source": origin.source,
        "made_by": {"infdet-deploy": __version__} | {p: importlib.metadata.version(p) for p in _PACKAGES},
        "operators": "2d" if options.conv2d else "3d",
        "model": config.to_json(),
        "preprocessing": {name: value for name, value in preprocessing.items() if value is not None},
        "classes": list(config.classes),
        "rule": to_dict(origin.rule or default_rule(config.classes)),
        "frames_per_snippet": FRAMES_PER_SNIPPET,
        "receptive_field_frames": 108,
        "stages": {n: {**dataclasses.asdict(spec), "files": {}} for n, spec in specs.items()},
        "ranges": {},
        "parity": {precision: {} for precision in options.float_precisions},
    }
    checks = [eager_tensors(network, sample_frames(t, config.size, seed=t)) for t in CHECK_FRAMES]
    draft = Draft(folder, network, options, specs, checks, manifest)
    if on_progress is not None:
        draft.report = _counter(on_progress, _steps(draft))
    return draft


def _steps(draft: Draft) -> int:
    """Number of steps that the writers report if int8 needs one attempt per file."""
    options, floats = draft.options, len(draft.options.float_precisions)
    steps = len(draft.specs) * floats * len(options.formats)
    if options.incremental:
        steps += len(draft.towers) * floats
    if options.int8:
        stages = len(draft.specs) - (NETWORK in draft.specs)
        steps += 1 + stages + len(INT8_FILES) * (len(draft.specs) + options.incremental * len(draft.towers))
    return steps


def _counter(on_progress: OnProgress, steps: int) -> Callable[[str], None]:
    """Number the steps; the last one, "hashing", has the number `steps`."""
    done = 0

    def report(what: str) -> None:
        nonlocal done
        on_progress(steps if what == "hashing" else min(done, steps - 1), steps, what)
        done += 1

    return report


def seal(folder: Path, manifest: dict[str, Any]) -> None:
    """List every file of the folder in the manifest, and write the manifest there.

    Raises ParityError for an ONNX file that no reader would accept, such as one with an operator of a newer exporter.
    """
    for file in sorted(folder.glob("*.onnx")):
        if why := fault(file):
            raise ParityError(
                f"{file.name} {why}; refusing to write it: use the tested versions of torch and onnxscript"
            )
    manifest["files"] = {
        file.name: {"bytes": file.stat().st_size, "sha256": sha256(file)} for file in sorted(folder.iterdir())
    }
    write_manifest(folder, manifest)
