"""`verify`: a bundle against the network it was made from, or against its own golden clip."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infdet_deploy.bundle.newest import newest_bundle
from infdet_deploy.console import progress, say
from infdet_deploy.errors import InfdetError, UsageError

if TYPE_CHECKING:
    from infdet_deploy.bundle.golden import Tensors
    from infdet_deploy.bundle.loading import Bundle
    from infdet_deploy.bundle.tolerances import Tolerances
    from infdet_deploy.model.network import InfDetNet
    from infdet_deploy.verification.bisect import Bisection
    from infdet_deploy.verification.end_to_end import ReferenceClip
    from infdet_deploy.verification.report import Verification
    from infdet_deploy.verification.stages import StageParity


def verify(
    bundle: Path | None,
    data: Path | None,
    subset: str | None,
    bisect: bool,
    self_test: bool,
    tolerance: Sequence[str],
    html: Path | None,
) -> "Verification":
    """Compare a bundle (the newest here where none is named) stage by stage and end to end; write a page to `html`.

    Raises UsageError for options that exclude each other, and the errors of what it calls.
    """
    from infdet_deploy.bundle.loading import load_bundle
    from infdet_deploy.bundle.tolerances import parse_tolerances

    tolerances = parse_tolerances(tolerance)
    if self_test and (data is not None or bisect):
        raise UsageError("--self-test needs no network; --data and --bisect compare with it: give one or the other")
    if subset is not None and data is None:
        raise UsageError(f"--subset {subset} chooses clips of a data set; add --data DIR")
    if html is not None and html.is_dir():
        raise UsageError(f"--html {html} is a folder; give the name of the page, such as {html / 'verify.html'}")
    loaded = load_bundle(bundle or _newest())
    result = _verify(loaded, data, subset, bisect, self_test, tolerances)
    if html is not None:
        from infdet_deploy.verification.page import write_page

        write_page(html, result)
    return result


def _newest() -> Path:
    found = newest_bundle()
    if found is None:
        raise UsageError("no bundle NAME.infdet in this folder; name one, or write one with infdet-deploy export")
    say(f"verifying {found}, the newest bundle here")
    return found


def _verify(
    bundle: "Bundle", data: Path | None, subset: str | None, bisect: bool, self_test: bool, tolerances: "Tolerances"
) -> "Verification":
    from infdet_deploy.verification import stages as parity
    from infdet_deploy.verification.end_to_end import end_to_end, sample_clips
    from infdet_deploy.verification.report import Verification

    network = None
    if self_test:
        references = parity.golden_references(bundle)
    else:
        network = parity.load_reference(bundle)
        references = parity.sample_references(network)
    clips: Any = sample_clips(references)
    total, name = len(clips), None
    if data is not None:
        assert network is not None
        total, clips, name = _dataset_clips(network, bundle, data, subset)

    contenders, left_out = parity.entries(bundle)
    stages: list[StageParity] = []
    with progress("verify") as update:
        for row in parity.stage_parity(bundle, references, tolerances, contenders):
            stages.append(row)
            update(len(stages), len(stages) + 1, f"{row.backend} {row.stage} {row.precision}")
    longest: list[ReferenceClip] = []
    with progress("verify") as update:
        ends = end_to_end(
            bundle,
            contenders,
            _remember(clips, longest),
            tolerances,
            lambda i, clip: update(i, total, clip),
        )
    found = None
    if bisect:
        assert network is not None
        found = tuple(_bisections(bundle, network, references, stages, tolerances))
    against = "golden clip" if self_test else "network"
    return Verification(
        bundle, against, name, tolerances, tuple(stages), tuple(ends), found, longest[0].name, longest[0].scores,
        tuple(left_out),
    )  # fmt: skip


def _remember(clips: Any, longest: "list[ReferenceClip]") -> Any:
    """The clips; `longest` holds the longest of them in the end, the first of several."""
    for clip in clips:
        if not longest or len(clip.scores) > len(longest[0].scores):
            longest[:] = [clip]
        yield clip


def _dataset_clips(network: "InfDetNet", bundle: "Bundle", data: Path, subset: str | None) -> tuple[int, Any, str]:
    from infdet_deploy.datasets import open_dataset
    from infdet_deploy.verification.end_to_end import dataset_clips

    dataset = open_dataset(data)
    subset = subset or ("testing" if dataset.subset("testing") else None)
    total, clips = dataset_clips(network, bundle, dataset, subset)
    return total, clips, f"{data}, {subset or 'all clips'}"


def _bisections(
    bundle: "Bundle",
    network: "InfDetNet",
    references: "Sequence[Tensors]",
    stages: "Sequence[StageParity]",
    tolerances: "Tolerances",
) -> "list[Bisection]":
    """Every stage that failed and can be taken apart, on the shortest clip that it failed on."""
    from infdet_deploy.runtime.backends.registry import get_backend
    from infdet_deploy.verification.bisect import bisect, runs_onnx

    by_length = {len(tensors["network"]["frames"]): tensors for tensors in references}
    failed = {(r.stage, r.backend, r.precision): r.frames for r in reversed(stages) if not r.passed}
    found = []
    with progress("bisect") as update:
        for index, ((stage, backend, precision), frames) in enumerate(reversed(failed.items())):
            update(index, len(failed), f"{backend} {stage} {precision}")
            if stage not in bundle.stages or not runs_onnx(get_backend(backend)):
                say(f"not taken apart: {stage} on {backend} {precision}; --bisect is for the single ONNX stages")
                continue
            tensors = by_length[frames][stage]
            try:
                found.append(bisect(bundle, network, stage, backend, precision, tensors, tolerances))
            except InfdetError as error:
                say(f"not taken apart: {error}")
    return found
