"""Comparing every stage of a bundle with the network, on the network's own input to that stage."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ParamSpec, TypeVar

import numpy as np

from infdet_deploy.bundle.golden import Tensors
from infdet_deploy.bundle.loading import Bundle
from infdet_deploy.bundle.schema import TOWERS, stream_stage
from infdet_deploy.bundle.tolerances import NOT_COMPARED, Errors, Tolerances, compare
from infdet_deploy.errors import BackendError, BundleError, InfdetError, first_line
from infdet_deploy.runtime.backends.base import CompiledStage
from infdet_deploy.runtime.backends.contender import Contender
from infdet_deploy.runtime.backends.registry import get_backend
from infdet_deploy.runtime.compiled_stages import stage_source
from infdet_deploy.runtime.incremental import TowerSteps
from infdet_deploy.verification.references import contenders_of

_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Compared:
    """Results of one backend and precision against the eager network's.

    max_abs … nonfinite: as in `tolerances.Errors`. error: why the backend could not run, in one line; the figures are
    then NaN.
    """

    backend: str
    precision: str
    max_abs: float
    relative_l2: float
    cosine: float
    snr_db: float
    nonfinite: int
    tolerance: float
    error: str


@dataclass(frozen=True)
class StageParity(Compared):
    """One stage on one clip of `frames` frames. tolerance: of relative_l2."""

    stage: str
    frames: int

    @property
    def passed(self) -> bool:
        return not self.nonfinite and self.relative_l2 <= self.tolerance


def stage_parity(
    bundle: Bundle,
    references: Sequence[Tensors],
    tolerances: Tolerances | None = None,
    contenders: Sequence[Contender] | None = None,
) -> Iterator[StageParity]:
    """Compare every stage, then every incremental tower, with the network on each clip of `references`.

    contenders: default: `contenders_of(bundle)`. An incremental tower must compute the features of the whole clip; one
    without a built engine is left out on backends that need engines. A backend that refuses a stage has rows with
    `error`. Raises BundleError for a stage that the references do not contain.
    """
    tolerances = tolerances or Tolerances()
    towers = [stage for stage in bundle.stages if stage in TOWERS and bundle.incremental is not None]
    incremental = {stream_stage(tower): tower for tower in towers}
    for entry in contenders_of(bundle)[0] if contenders is None else contenders:
        backend = get_backend(entry.backend)
        format, precision = backend.capabilities.format, entry.precision
        allowed = tolerances.stage(format, precision)
        for stage in (*bundle.manifest.stages, *incremental):
            if precision not in bundle.entry(stage).files.get(format, {}):
                continue
            if stage in incremental and not backend.is_ready(bundle.stage_file(stage, precision), precision):
                continue
            reference = incremental.get(stage, stage)
            if any(reference not in tensors for tensors in references):
                raise BundleError(f"{bundle.path}: verify does not know the stage '{stage}'; update infdet-deploy")
            results = _run(bundle, stage, entry, [tensors[reference] for tensors in references])
            for tensors, (errors, failure) in zip(references, results, strict=True):
                length = len(tensors["network"]["frames"])
                yield StageParity(entry.backend, precision, *errors, allowed, failure, stage, length)


def _run(
    bundle: Bundle, stage: str, entry: Contender, clips: Sequence[Mapping[str, np.ndarray]]
) -> Iterator[tuple[Errors, str]]:
    """For each clip the stage's errors, and why it could not run or an empty text.

    Of a stage with another file for fixed shapes, the worse result of the two files.
    """
    source = stage_source(bundle, stage, entry.backend, entry.precision)
    runners: list[CompiledStage] = []
    try:
        for one in filter(None, (replace(source, fixed=None), source.fixed)):
            runners.append(get_backend(entry.backend).open_stage(one))
    except BackendError as error:
        yield from ((NOT_COMPARED, str(error)) for _ in clips)
        return

    def output(runner: CompiledStage, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        if stage in bundle.manifest.stages:
            return runner.run({name: tensors[name] for name in runner.inputs})[runner.outputs[0]]
        assert bundle.incremental is not None
        return TowerSteps(runner, bundle.entry(stage), bundle.incremental).whole(tensors[runner.inputs[0]])

    def compared(runner: CompiledStage, tensors: Mapping[str, np.ndarray]) -> tuple[Errors, str]:
        found, failure = attempt(entry, output, runner, tensors)
        return NOT_COMPARED if found is None else compare(found, tensors[runner.outputs[0]]), failure

    for tensors in clips:
        results = [compared(runner, tensors) for runner in runners]
        yield max(results, key=lambda result: (bool(result[1]), result[0].nonfinite, result[0].relative_l2))
    for runner in runners:
        runner.close()


def attempt(entry: Contender, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> tuple[_T | None, str]:
    """What the function returns; or None, and in one line why it failed. For running a stage, not for opening one."""
    try:
        return function(*args, **kwargs), ""
    except InfdetError as error:
        return None, str(error)
    except Exception as error:  # backends raise different exceptions
        return None, f"{entry.name} cannot run: {first_line(error)}"
