"""How far a bundle's stages are from the network they were made from, stage by stage, backend by backend."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from infdet_deploy.bundle.golden import Tensors, load_golden, stage_tensors
from infdet_deploy.bundle.loading import TOWERS, WEIGHTS, Bundle, stream_stage
from infdet_deploy.bundle.tolerances import CHECK_FRAMES, NOT_COMPARED, Errors, Tolerances, compare
from infdet_deploy.errors import BackendError, BundleError, InfdetError, first_line, missing_package
from infdet_deploy.runtime.backends.contender import Contender
from infdet_deploy.runtime.backends.registry import available_backends, get_backend
from infdet_deploy.runtime.incremental import TowerSteps
from infdet_deploy.runtime.stages import open_bundle_stage

if TYPE_CHECKING:
    from infdet_deploy.model.network import InfDetNet


@dataclass(frozen=True)
class StageParity:
    """One stage on one clip against the eager network fed with the same input.

    frames: length of the clip. max_abs, relative_l2, cosine, snr_db, nonfinite: as in `agreement.Errors`. tolerance: of
    relative_l2. error: why the backend could not run the stage, in one line; the figures are then NaN.
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


def entries(bundle: Bundle) -> tuple[list[Contender], list[Contender]]:
    """Every backend of this machine in every precision that it can compute in and every stage is held in.

    Those that can be run, and those left out: built ahead with no engine here for this device, or wrong on this
    processor.
    """
    found: list[Contender] = []
    left_out: list[Contender] = []
    for backend in available_backends():
        form = backend.capabilities.format
        for precision in filter(backend.capabilities.precisions.__contains__, bundle.precisions_as(form)):
            files = (bundle.stage_file(stage, precision, form) for stage in bundle.stages)
            runs = backend.supports(precision) and all(backend.is_ready(file, precision) for file in files)
            (found if runs else left_out).append(Contender(backend.name, precision))
    return found, left_out


def load_reference(bundle: Bundle) -> "InfDetNet":
    """The eager network that a bundle was made from.

    Raises BundleError when the bundle has no weights, InfdetError where torch or safetensors are missing.
    """
    for package in ("torch", "safetensors"):
        if not _installed(package):
            raise missing_package(package, "export", "verify (without --self-test)")
    if not (bundle.path / WEIGHTS).is_file():
        raise BundleError(
            f"{bundle.path} holds no {WEIGHTS}, which verify builds the network from; export it with weights, or use "
            "--self-test"
        )
    from infdet_deploy.model.weights import load_network

    return load_network(bundle.path / WEIGHTS)[0]


def _installed(package: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(package) is not None


def sample_references(network: "InfDetNet", frames: Sequence[int] = CHECK_FRAMES) -> list[Tensors]:
    """What the eager network makes of seeded clips of these lengths, stage by stage."""
    from infdet_deploy.exporting.reference import eager_tensors
    from infdet_deploy.video.sample import sample_frames

    clips = [sample_frames(t, network.config.size, seed=t) for t in frames]
    return [eager_tensors(network, clip) for clip in clips]


def golden_references(bundle: Bundle) -> list[Tensors]:
    """The golden clip's; raises BundleError where the bundle has none."""
    return [stage_tensors(load_golden(bundle))]


def stage_parity(
    bundle: Bundle,
    references: Sequence[Tensors],
    tolerances: Tolerances | None = None,
    contenders: Sequence[Contender] | None = None,
) -> Iterator[StageParity]:
    """Compare every stage of the manifest in every contender, on every clip of `references`; then towers as steps.

    Features of steps are compared with those of the whole clip. Where a backend is built ahead, steps that are not
    built are left out. contenders: those that `entries` finds where None. A backend that refuses a stage gives rows
    with `error`. Raises BundleError for a stage that no reference knows.
    """
    tolerances = tolerances or Tolerances()
    for entry in entries(bundle)[0] if contenders is None else contenders:
        backend = get_backend(entry.backend)
        form = backend.capabilities.format
        allowed = tolerances.stage(form, entry.precision)
        steps = _steps(bundle)
        for stage in (*bundle.manifest["stages"], *steps):
            if entry.precision not in bundle.entry(stage)["files"].get(form, {}):
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
    """The towers as steps, where the bundle holds them: their names → the stages whose features they give."""
    towers = (stage for stage in bundle.stages if stage in TOWERS)
    return {} if bundle.stream is None else {stream_stage(tower): tower for tower in towers}


def _run(
    bundle: Bundle, stage: str, entry: Contender, clips: Sequence[Mapping[str, np.ndarray]]
) -> Iterator[tuple[Errors, str]]:
    """For each clip how far the stage is from what it holds, and why it could not run, or nothing."""
    try:
        runner = open_bundle_stage(bundle, stage, entry.backend, entry.precision)
    except BackendError as error:
        yield from ((NOT_COMPARED, str(error)) for _ in clips)
        return
    output = runner.outputs[0]
    for tensors in clips:
        try:
            if stage in bundle.manifest["stages"]:
                found = runner.run({name: tensors[name] for name in runner.inputs})[output]
            else:
                assert bundle.stream is not None
                found = TowerSteps(runner, bundle.entry(stage), bundle.stream).whole(tensors[runner.inputs[0]])
        except Exception as error:  # each backend has errors of its own for a graph that fails as it runs
            yield NOT_COMPARED, why(entry, error)
            continue
        yield compare(found, tensors[output]), ""
    runner.close()


def why(entry: Contender, error: Exception) -> str:
    """Why a contender failed, in one line."""
    if isinstance(error, InfdetError):
        return str(error)
    return f"{entry.backend} {entry.precision} cannot run: {first_line(error)}"


def verify(bundle: Bundle, frames: tuple[int, ...] = CHECK_FRAMES) -> Iterator[StageParity]:
    """Compare every stage in every precision on every backend that this machine has, on seeded clips.

    Raises BundleError when the bundle has no weights to build the eager network from.
    """
    yield from stage_parity(bundle, sample_references(load_reference(bundle), frames))
