"""Comparing every stage of a bundle with the network, each fed the network's own input to it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from infdet_deploy.bundle.golden import Tensors
from infdet_deploy.bundle.loading import TOWERS, Bundle, stream_stage
from infdet_deploy.bundle.tolerances import NOT_COMPARED, Errors, Tolerances, compare
from infdet_deploy.errors import BackendError, BundleError, InfdetError, first_line
from infdet_deploy.runtime.backends.contender import Contender
from infdet_deploy.runtime.backends.registry import get_backend
from infdet_deploy.runtime.incremental import TowerSteps
from infdet_deploy.runtime.stages import open_bundle_stage
from infdet_deploy.verification.references import contenders_of


@dataclass(frozen=True)
class StageParity:
    """One stage on one clip against the eager network.

    frames: length of the clip. max_abs … nonfinite: as in `tolerances.Errors`. tolerance: of relative_l2. error: why
    the backend could not run the stage, in one line; the figures are then NaN.
    """

    stage: str
    backend: str
    precision: str
    frames: int
    max_abs: float
    relative_l2: float
    cosine: float
    snr_db: float
    nonfinite: int
    tolerance: float
    error: str = ""

    @property
    def passed(self) -> bool:
        return not self.nonfinite and self.relative_l2 <= self.tolerance


def stage_parity(
    bundle: Bundle,
    references: Sequence[Tensors],
    tolerances: Tolerances | None = None,
    contenders: Sequence[Contender] | None = None,
) -> Iterator[StageParity]:
    """Compare every stage of the manifest, then the towers as steps, on every clip of `references`.

    contenders: default: `contenders_of(bundle)`. Features of towers as steps are compared with those of the whole clip;
    steps that a built-ahead backend has not built are left out. A backend that refuses a stage has rows with `error`.
    Raises BundleError for a stage that no reference contains.
    """
    tolerances = tolerances or Tolerances()
    for entry in contenders_of(bundle)[0] if contenders is None else contenders:
        backend = get_backend(entry.backend)
        form = backend.capabilities.format
        allowed = tolerances.stage(form, entry.precision)
        steps = _steps(bundle)
        for stage in (*bundle.manifest.stages, *steps):
            if entry.precision not in bundle.entry(stage).files.get(form, {}):
                continue
            if stage in steps and not backend.is_ready(bundle.stage_file(stage, entry.precision), entry.precision):
                continue
            of = steps.get(stage, stage)
            for tensors in references:
                if of not in tensors:
                    raise BundleError(
                        f"{bundle.path}: stage '{stage}' is not one that verify knows; update infdet-deploy"
                    )
            for tensors, (errors, failure) in zip(
                references, _run(bundle, stage, entry, [tensors[of] for tensors in references]), strict=True
            ):
                length = len(tensors["network"]["frames"])
                yield StageParity(stage, entry.backend, entry.precision, length, *errors, allowed, failure)


def _steps(bundle: Bundle) -> dict[str, str]:
    """The bundle's towers as steps: their names → the stages that compute the same features."""
    towers = (stage for stage in bundle.stages if stage in TOWERS)
    return {} if bundle.incremental is None else {stream_stage(tower): tower for tower in towers}


def _run(
    bundle: Bundle, stage: str, entry: Contender, clips: Sequence[Mapping[str, npt.NDArray[Any]]]
) -> Iterator[tuple[Errors, str]]:
    """For each clip the stage's errors, and why it could not run, or an empty text."""
    try:
        runner = open_bundle_stage(bundle, stage, entry.backend, entry.precision)
    except BackendError as error:
        yield from ((NOT_COMPARED, str(error)) for _ in clips)
        return
    output = runner.outputs[0]
    for tensors in clips:
        try:
            if stage in bundle.manifest.stages:
                found = runner.run({name: tensors[name] for name in runner.inputs})[output]
            else:
                assert bundle.incremental is not None
                found = TowerSteps(runner, bundle.entry(stage), bundle.incremental).whole(tensors[runner.inputs[0]])
        except Exception as error:  # the exceptions of a failing graph differ by backend
            yield NOT_COMPARED, why(entry, error)
            continue
        yield compare(found, tensors[output]), ""
    runner.close()


def why(entry: Contender, error: Exception) -> str:
    """Why a contender failed, in one line."""
    if isinstance(error, InfdetError):
        return str(error)
    return f"{entry.backend} {entry.precision} cannot run: {first_line(error)}"
