"""`evaluate`: metrics of detections, a checkpoint or a bundle on a data set."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from infdet_deploy.bundle.manifest import MANIFEST
from infdet_deploy.bundle.pretrained import bundle_folder
from infdet_deploy.console import OnProgress
from infdet_deploy.datasets import DataSet, open_dataset
from infdet_deploy.datasets.detection_files import read_detections
from infdet_deploy.datasets.formats.thumos import read_class_ids
from infdet_deploy.datasets.trimmed import trimmed
from infdet_deploy.detections import clip_score
from infdet_deploy.errors import UsageError
from infdet_deploy.evaluation.names import match_names
from infdet_deploy.evaluation.report import check_out, draw_clips, write_report
from infdet_deploy.evaluation.result import Evaluation, Kind, detection_metrics
from infdet_deploy.evaluation.scorers import Scorer, open_scorer
from infdet_deploy.files import whole_folder
from infdet_deploy.metrics.average_precision import Protocol
from infdet_deploy.metrics.recognition import evaluate_recognition
from infdet_deploy.metrics.thresholds import detections, fit_thresholds
from infdet_deploy.training.run_folder import BEST

Protocols = Literal["both", "thumos14", "activitynet"]


@dataclass(frozen=True)
class EvaluateOptions:
    """Settings of `evaluate`. Raises UsageError for an unknown protocol.

    subset: default: all clips for a detection file, `testing` for networks if the data set has it, otherwise all.
    protocol: of mean average precision. fit_thresholds: first fit the thresholds on the subset `training`, and store
    them in the checkpoint or bundle. backend, precision: for bundles; default: OpenVINO, float32. out: a folder for
    report.json and pictures; an earlier report in it is replaced.
    """

    subset: str | None = None
    protocol: Protocols = "both"
    fit_thresholds: bool = False
    backend: str | None = None
    precision: str | None = None
    out: Path | str | None = None

    def __post_init__(self) -> None:
        if self.protocol not in get_args(Protocols):
            raise UsageError(f"protocol is '{self.protocol}', expected both, thumos14 or activitynet")

    @property
    def protocols(self) -> tuple[Protocol, ...]:
        return get_args(Protocol) if self.protocol == "both" else (self.protocol,)


def evaluate(
    subject: Path | str,
    data: DataSet | Path | str,
    options: EvaluateOptions | None = None,
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """Compute mean average precision at temporal IoU 0.1 to 0.7, precision-recall curves and an error breakdown.

    subject: a detection file (THUMOS text, ActivityNet or `detect --json`), a run folder, a .safetensors checkpoint or
    a bundle. data: a data set; for detections, annotations suffice. on_progress: called with steps done, all steps and
    the current step. Raises UsageError for options that do not fit the subject, AnnotationError and VideoError for data
    that does not fit it.
    """
    subject, options = bundle_folder(subject), options or EvaluateOptions()
    kind = subject_kind(subject)
    if kind != "bundle" and (options.backend or options.precision):
        raise UsageError(f"backend and precision are for bundles; {subject} contains {kind}")
    if kind == "detections" and options.fit_thresholds:
        raise UsageError(f"fitting thresholds needs scores; {subject} has detections; use a run, checkpoint or bundle")
    if options.out is not None:
        check_out(Path(options.out))
    dataset = data if isinstance(data, DataSet) else open_dataset(data)
    if kind == "detections":
        return _evaluate_file(subject, dataset, options)
    with open_scorer(subject, kind == "checkpoint", options.backend, options.precision) as scorer:
        subset = options.subset or ("testing" if dataset.subset("testing") else None)
        clips = dataset.usable(subset, scorer.classes)
        report = on_progress or (lambda done, total, text="", /: None)
        before = _thresholds(scorer) if options.fit_thresholds else None
        if options.fit_thresholds:
            if scorer.task == "recognition":
                raise UsageError(f"{subject} recognises trimmed clips; fitting thresholds is for detection")
            training = scorer.score(dataset, "training", report)
            scorer.store(fit_thresholds(training, scorer.classes, scorer.rule))
        scored = scorer.score(dataset, subset, report)
        metrics = recognition = None
        if scorer.task == "recognition":
            labels = [trimmed(one.annotation).label for one in scored]
            recognition = evaluate_recognition([clip_score(one.scores) for one in scored], labels, scorer.classes)
        else:
            found = detections(scored, scorer.classes, scorer.rule)
            judged = [one.annotation for one in scored]  # of each part of a recording, in the part's seconds
            metrics = detection_metrics(judged, found, scorer.classes, options.protocols)
        result = Evaluation(
            str(subject), kind, str(dataset.annotations), subset, len(clips), metrics, recognition,
            _thresholds(scorer), before, scorer.losses,
        )  # fmt: skip
        if options.out is not None:
            with whole_folder(options.out) as folder:
                write_report(folder, result)
                if metrics is not None:
                    draw_clips(folder / "timelines", dataset, scorer, scored, report)
                scorer.draw_flow(folder / "flow.png")
    return result


def _evaluate_file(subject: Path, dataset: DataSet, options: EvaluateOptions) -> Evaluation:
    clips = dataset.select(options.subset)
    ids = read_class_ids(dataset.annotations) if dataset.annotations.is_dir() else None
    found = match_names(read_detections(subject, ids), clips, dataset, str(subject))
    metrics = detection_metrics(clips, found, None, options.protocols)
    result = Evaluation(str(subject), "detections", str(dataset.annotations), options.subset, len(clips), metrics)
    if options.out is not None:
        with whole_folder(options.out) as folder:
            write_report(folder, result)
    return result


def subject_kind(subject: Path) -> Kind:
    """The kind of a path. Raises UsageError for anything that cannot be evaluated."""
    expected = "expected a detection file, a run folder, a .safetensors checkpoint or a bundle NAME.infdet"
    if not subject.exists():
        raise UsageError(f"{subject}: no such file or folder; {expected}")
    if subject.is_dir():
        if subject.suffix == ".infdet" or (subject / MANIFEST).is_file():
            return "bundle"
        if (subject / BEST).is_file():
            return "checkpoint"
        raise UsageError(f"{subject} is a folder without {BEST} and {MANIFEST}, neither run nor bundle; {expected}")
    if subject.suffix == ".safetensors":
        return "checkpoint"
    with open(subject, "rb") as file:
        begin = file.read(1024)
        if b"\0" in begin and not begin.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16 is refused as such
            raise UsageError(f"{subject} is neither text nor a .safetensors file; {expected}")
    return "detections"


def _thresholds(scorer: Scorer) -> dict[str, float]:
    return dict(zip(scorer.classes, scorer.rule.thresholds, strict=True))
