"""How far a bundle's stages are from the network they were made from, stage by stage, backend by backend."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infdet_deploy.agreement import CHECK_FRAMES, compare, tolerance
from infdet_deploy.errors import BundleError, missing_package
from infdet_deploy.runtime.backends.base import BACKENDS, available, ready, stage_format
from infdet_deploy.runtime.bundle import WEIGHTS, Bundle
from infdet_deploy.runtime.detections import Detection
from infdet_deploy.runtime.pipeline import open_bundle_stage


@dataclass(frozen=True)
class StageParity:
    """One stage on one clip against the eager network fed with the same input.

    max_abs: largest absolute error; relative_l2: ‖error‖/‖reference‖; cosine: between the flattened outputs.
    """

    stage: str
    backend: str
    precision: str
    frames: int
    max_abs: float
    relative_l2: float
    cosine: float
    tolerance: float

    @property
    def passed(self) -> bool:
        return self.relative_l2 <= self.tolerance


@dataclass(frozen=True)
class DetectionChanges:
    """What changed between two detection lists of the same clips.

    matched: pairs of the same class that overlap; missed, extra: without a partner; boundary_shift_s, score_shift: the
    largest among the pairs.
    """

    matched: int
    missed: int
    extra: int
    boundary_shift_s: float
    score_shift: float


def compare_detections(reference: list[Detection], ours: list[Detection]) -> DetectionChanges:
    """Pair the detections of one clip, best overlap first come, and measure how far the pairs are apart."""
    free = list(ours)
    boundary, score, matched = 0.0, 0.0, 0
    for one in reference:
        overlapping = [o for o in free if o.label == one.label and o.start_s < one.end_s and one.start_s < o.end_s]
        if not overlapping:
            continue
        other = min(overlapping, key=lambda o: abs(o.start_s - one.start_s) + abs(o.end_s - one.end_s))
        free.remove(other)
        matched += 1
        boundary = max(boundary, abs(other.start_s - one.start_s), abs(other.end_s - one.end_s))
        score = max(score, abs(other.score - one.score))
    return DetectionChanges(matched, len(reference) - matched, len(free), boundary, score)


def verify(bundle: Bundle, frames: tuple[int, ...] = CHECK_FRAMES) -> Iterator[StageParity]:
    """Compare every stage in every precision on every backend that this machine has.

    Raises BundleError when the bundle has no weights to build the eager network from.
    """
    if not available("torchscript"):
        raise missing_package("torch", "export", "verify")
    from infdet_deploy.export.bundle import eager_tensors
    from infdet_deploy.model.weights import load_network
    from infdet_deploy.video.sample import sample_frames

    weights: Path = bundle.path / WEIGHTS
    if not weights.is_file():
        raise BundleError(
            f"{bundle.path} holds no {WEIGHTS}, which verify builds the network from; export it with weights"
        )
    network, _ = load_network(weights)
    references = {t: eager_tensors(network, sample_frames(t, bundle.size, seed=t)) for t in frames}
    for backend in filter(available, BACKENDS):
        form = stage_format(backend)
        for stage in bundle.stages:
            for precision in bundle.manifest["stages"][stage]["files"].get(form, {}):
                if not ready(backend, bundle.stage_file(stage, precision, form), precision):
                    continue
                runner = open_bundle_stage(bundle, stage, backend, precision)
                (output,) = runner.outputs
                for t, tensors in references.items():
                    errors = compare(runner.run(tensors[stage])[output], tensors[stage][output])
                    yield StageParity(stage, backend, precision, t, *errors, tolerance(form, precision))
                runner.close()
