"""`verify`: a bundle against the network it was exported from, or against its golden clip."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from infdet_deploy.bundle.golden import Tensors
from infdet_deploy.bundle.loading import Bundle, load_bundle
from infdet_deploy.bundle.tolerances import Tolerances
from infdet_deploy.console import OnProgress, say
from infdet_deploy.datasets import open_dataset
from infdet_deploy.errors import InfdetError, UsageError
from infdet_deploy.plots.page import write_page
from infdet_deploy.runtime.backends.registry import get_backend
from infdet_deploy.verification.bisect import Bisection, bisect, runs_onnx
from infdet_deploy.verification.end_to_end import ReferenceClip, dataset_clips, end_to_end, sample_clips
from infdet_deploy.verification.references import contenders_of, golden_references, load_reference, sample_references
from infdet_deploy.verification.report import page
from infdet_deploy.verification.result import Verification
from infdet_deploy.verification.stages import StageParity, stage_parity

if TYPE_CHECKING:
    from infdet_deploy.model.network import InfDetNet


@dataclass(frozen=True)
class VerifyOptions:
    """Settings of `verify`. Raises UsageError for options that exclude each other.

    data: a data set whose clips are compared from frames to detections, with mAP; default: generated clips. subset: of
    `data`; default: `testing` if there is one, otherwise all. bisect: name the modules at fault in every ONNX stage
    out of tolerance. self_test: compare with the bundle's golden clip, without torch and data. html: also write the
    report as this HTML page.
    """

    data: Path | str | None = None
    subset: str | None = None
    bisect: bool = False
    self_test: bool = False
    tolerances: Tolerances = field(default_factory=Tolerances)
    html: Path | str | None = None

    def __post_init__(self) -> None:
        if self.self_test and (self.data is not None or self.bisect):
            raise UsageError("--self-test excludes --data and --bisect, which need the network; leave one of them out")
        if self.subset is not None and self.data is None:
            raise UsageError(f"--subset {self.subset} chooses clips of a data set; add --data DIR")
        if self.html is not None and (page := Path(self.html)).is_dir():
            raise UsageError(f"--html {page} is a folder; give the name of the page, such as {page / 'verify.html'}")


def verify(
    bundle: Bundle | Path | str, options: VerifyOptions | None = None, on_progress: OnProgress | None = None
) -> Verification:
    """Compare a bundle with its network, stage by stage and from frames to detections, on every backend and precision.

    on_progress: called with steps done, all steps and the current step. Raises BundleError for a damaged bundle or one
    without weights (with `self_test`: golden clip), InfdetError if torch is missing (not needed with `self_test`), and
    AnnotationError and VideoError for the data set.
    """
    options, report = options or VerifyOptions(), on_progress or (lambda done, total, text="", /: None)
    bundle = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
    network = None if options.self_test else load_reference(bundle)
    references = golden_references(bundle) if network is None else sample_references(network)
    clips: Iterable[ReferenceClip]
    if options.data is None or network is None:
        clips, name = sample_clips(bundle, references), None
        total = len(clips)
    else:
        dataset = open_dataset(options.data)
        subset = options.subset or ("testing" if dataset.subset("testing") else None)
        chosen = dataset.usable(subset, bundle.classes)
        clips, name = dataset_clips(network, bundle, chosen, dataset), f"{options.data}, {subset or 'all clips'}"
        total = len(chosen)
    contenders, left_out = contenders_of(bundle)
    stages: list[StageParity] = []
    for row in stage_parity(bundle, references, options.tolerances, contenders):
        stages.append(row)
        report(len(stages), len(stages) + 1, f"{row.backend} {row.stage} {row.precision}")
    seen: list[tuple[str, npt.NDArray[np.float32], bool]] = []  # names, scores, and whether the rule is the clip's own

    def on_clip(index: int, clip: ReferenceClip) -> None:
        seen.append((clip.name, clip.scores, clip.rule != bundle.rule))
        report(index, total, clip.name)

    ends = end_to_end(bundle, contenders, clips, options.tolerances, on_clip)
    shown_clip, shown_scores, _ = max(seen, key=lambda one: len(one[1]))
    bisections = None
    if options.bisect and network is not None:
        bisections = tuple(_bisect_failed(bundle, network, references, stages, options.tolerances, report))
    result = Verification(
        bundle, "golden clip" if network is None else "network", name, sum(own for *_, own in seen),
        options.tolerances, tuple(stages), tuple(ends), bisections, shown_clip, shown_scores, tuple(left_out),
    )  # fmt: skip
    if options.html is not None:
        write_page(Path(options.html), page(result))
    return result


def _bisect_failed(
    bundle: Bundle,
    network: "InfDetNet",
    references: Sequence[Tensors],
    stages: Sequence[StageParity],
    tolerances: Tolerances,
    on_progress: OnProgress,
) -> Iterator[Bisection]:
    """Bisect every ONNX stage that failed, on the shortest clip on which it failed."""
    by_length = {len(tensors["network"]["frames"]): tensors for tensors in references}
    failed = {(r.stage, r.backend, r.precision): r.frames for r in reversed(stages) if not r.passed}
    for index, ((stage, backend, precision), frames) in enumerate(reversed(failed.items())):
        on_progress(index, len(failed), f"bisect {backend} {stage} {precision}")
        if stage not in bundle.stages or not runs_onnx(get_backend(backend)):
            say(f"not bisected: {stage} on {backend} {precision}; --bisect is for single ONNX stages")
            continue
        tensors = by_length[frames][stage]
        try:
            yield bisect(bundle, network, stage, backend, precision, tensors, tolerances)
        except InfdetError as error:
            say(f"not bisected: {error}")
