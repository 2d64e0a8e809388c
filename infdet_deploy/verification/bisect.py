"""Finding the module at fault in a stage: every module is compared inside the running stage and with correct input.

A module that is out of tolerance with correct input is a culprit; a module that is only wrong on wrong input is a
victim. The reference is the stage exported again in float32 from the bundle's weights; it is used only if its output
equals the eager network's.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from infdet_deploy.bundle.loading import NETWORK, Bundle
from infdet_deploy.bundle.tolerances import NOT_COMPARED, Errors, Tolerances, compare
from infdet_deploy.errors import BackendError, InfdetError, ParityError, UsageError
from infdet_deploy.runtime.backends.base import Backend
from infdet_deploy.runtime.backends.contender import Contender
from infdet_deploy.runtime.backends.registry import available_backends, get_backend, open_stage
from infdet_deploy.verification.stages import attempt

if TYPE_CHECKING:
    from infdet_deploy.model.network import InfDetNet
    from infdet_deploy.verification.cutting import StageGraph

NAMED = 3  # further culprits named in the summary; above this only their number

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class ModuleErrors:
    """The comparison of one module.

    inside: relative L2 of its output in the running stage, NaN if the stage does not run. alone: the same when fed the
    reference's input, None if not needed. nonfinite: NaN and infinite values of its output in the stage. verdict: `ok`,
    `culprit` or `victim`.
    """

    module: str
    inside: float
    alone: float | None
    nonfinite: int
    verdict: str


@dataclass(frozen=True)
class Bisection:
    """A stage on one backend in one precision; modules in data order.

    first: the first module out of tolerance, or an empty text. culprits: modules that are wrong with the right input.
    """

    stage: str
    backend: str
    precision: str
    tolerance: float
    modules: tuple[ModuleErrors, ...]

    @property
    def first(self) -> str:
        return next((m.module for m in self.modules if m.verdict != "ok"), "")

    @property
    def culprits(self) -> tuple[str, ...]:
        return tuple(m.module for m in self.modules if m.verdict == "culprit")

    @property
    def summary(self) -> str:
        """The result in one line."""
        where = f"{self.stage} on {self.backend} {self.precision}"
        if self.culprits:
            first, *others = self.culprits
            names = ", ".join(others) if len(others) <= NAMED else f"{len(others)} more"
            return f"{where}: {first} is wrong with the right input" + (f", as are {names}" if others else "")
        if self.first:
            return f"{where}: no module is wrong on its own; errors add up and leave tolerance at {self.first}"
        return f"{where}: every module within tolerance"


def runs_onnx(backend: Backend) -> bool:
    """Whether a backend runs ONNX files directly, so that it can run a part of one."""
    return backend.capabilities.format == "onnx" and not backend.capabilities.built_ahead


def bisect(
    bundle: Bundle,
    network: "InfDetNet",
    stage: str,
    backend: str,
    precision: str,
    tensors: Mapping[str, np.ndarray],
    tolerances: Tolerances | None = None,
) -> Bisection:
    """Find the modules at fault in one stage's ONNX file.

    tensors: the stage's inputs and outputs as the eager network computes them. Raises UsageError for a backend that
    does not run ONNX files, BackendError for one with wrong results on this processor, ParityError if no backend here
    reproduces the network with the float32 graph.
    """
    from infdet_deploy.verification.cutting import StageGraph

    format = get_backend(backend).capabilities.format
    if not runs_onnx(get_backend(backend)):
        raise UsageError(f"--bisect needs a backend that runs ONNX files directly; {backend} does not")
    get_backend(backend).check_supports(precision)
    allowed = (tolerances or Tolerances()).stage(format, precision)
    ours = StageGraph(bundle.file_for(backend, stage, precision, format))
    with tempfile.TemporaryDirectory() as name:
        folder, arrays = Path(name), dict(tensors)
        theirs = _reference_graph(bundle, network, stage, arrays, folder)
        pairs = ours.pairs(theirs)
        values = _reference_values(theirs, list(pairs.values()), stage, arrays, folder)
        reference = {name: _of_rank(ours.ranks.get(name), values[tensor]) for name, tensor in pairs.items()}
        runner = _Runner(Contender(backend, precision), folder, arrays)
        return Bisection(stage, backend, precision, allowed, tuple(_modules(ours, reference, runner, allowed)))


def _modules(graph: "StageGraph", reference: Arrays, runner: "_Runner", allowed: float) -> Iterator[ModuleErrors]:
    modules = graph.modules(reference)
    boundaries = {name: reference[name] for module in modules for name in module.outputs}
    inside = runner.run(graph, list(boundaries))
    for module in modules:
        worst = _worst(inside, reference, module.outputs)
        if worst.relative_l2 <= allowed and not worst.nonfinite:
            yield ModuleErrors(module.name, worst.relative_l2, None, 0, "ok")
            continue
        alone = _worst(runner.run(graph, module.outputs, boundaries), reference, module.outputs)
        right = alone.relative_l2 <= allowed and not alone.nonfinite
        verdict = "culprit" if not right else "victim" if inside else "ok"
        yield ModuleErrors(module.name, worst.relative_l2, alone.relative_l2, worst.nonfinite, verdict)


def _of_rank(rank: int | None, value: np.ndarray) -> np.ndarray:
    """The array without its first axis if the graph's tensor has none for the batch, as in old heads."""
    return value[0] if rank is not None and value.ndim == rank + 1 and len(value) == 1 else value


def _worst(values: Arrays, reference: Arrays, names: tuple[str, ...]) -> Errors:
    """The errors of the worst of these tensors; NaN if one is missing."""
    if not set(names) <= set(values):
        return NOT_COMPARED
    errors = [compare(values[name], reference[name]) for name in names]
    return max(errors, key=lambda e: (e.nonfinite, e.relative_l2 != e.relative_l2, e.relative_l2))


@dataclass(frozen=True)
class _Runner:
    """Runs parts of a graph on one backend. folder: for a temporary file. tensors: the stage's inputs."""

    entry: Contender
    folder: Path
    tensors: Arrays

    def run(self, graph: "StageGraph", outputs: Sequence[str], boundaries: Arrays | None = None) -> Arrays:
        """The tensors `outputs`, from the tensors `boundaries` and the stage's inputs; none if that does not run."""
        path, boundaries = self.folder / "part.onnx", boundaries or {}
        inputs = graph.cut(outputs, {name: value.shape for name, value in boundaries.items()}, path)
        feeds = self.tensors | {f"in:{name}": value for name, value in boundaries.items()}
        names = tuple(f"out:{name}" for name in outputs)
        try:
            stage = open_stage(self.entry.backend, path, self.entry.precision, inputs, names)
        except BackendError:
            return {}
        try:
            found, _ = attempt(self.entry, stage.run, {name: feeds[name] for name in inputs})
            return {name: np.array(found[f"out:{name}"]) for name in outputs} if found else {}
        finally:
            stage.close()


def _reference_graph(bundle: Bundle, network: "InfDetNet", stage: str, tensors: Arrays, folder: Path) -> "StageGraph":
    """The stage exported again from the weights, in float32."""
    import torch

    from infdet_deploy.exporting.onnx import export_onnx
    from infdet_deploy.exporting.stages.build import build_stage
    from infdet_deploy.exporting.tensors import stage_specs
    from infdet_deploy.verification.cutting import StageGraph

    specs = {name: spec for name, spec in stage_specs(network).items() if name != NETWORK}
    if stage not in specs:
        raise UsageError(f"--bisect works on the stages {', '.join(specs)}, not on {stage}, which joins them")
    path = folder / "reference.onnx"
    example = tuple(torch.from_numpy(tensors[tensor.name]) for tensor in specs[stage].inputs)
    built = build_stage(stage, network, torch.float32, conv2d=bundle.operators == "2d")
    export_onnx(stage, built, specs[stage], example, path)
    return StageGraph(path)


def _reference_values(graph: "StageGraph", names: Sequence[str], stage: str, tensors: Arrays, folder: Path) -> Arrays:
    """The reference graph's tensors, from the first backend whose output equals the network's."""
    (output,) = graph.outputs
    for backend in filter(runs_onnx, available_backends()):
        try:
            found = _Runner(Contender(backend.name, "float32"), folder, tensors).run(graph, sorted({*names, output}))
        except InfdetError:
            continue
        if found and compare(found[output], tensors[output]).relative_l2 <= Tolerances().stage("onnx", "float32"):
            return found
    raise ParityError(f"{stage}: no backend here reproduces the network in float32, so there is no reference")
