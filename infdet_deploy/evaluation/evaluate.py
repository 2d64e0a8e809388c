"""`evaluate`: metrics of detections, a checkpoint or a bundle on a data set."""

from pathlib import Path

from infdet_deploy.console import OnProgress
from infdet_deploy.datasets import DataSet, open_dataset
from infdet_deploy.datasets.detection_files import read_detections
from infdet_deploy.datasets.formats.thumos import read_class_ids
from infdet_deploy.datasets.trimmed import trimmed
from infdet_deploy.detections import clip_score
from infdet_deploy.errors import UsageError
from infdet_deploy.evaluation.options import EvaluateOptions
from infdet_deploy.evaluation.report import check_out, draw_clips, write_report
from infdet_deploy.evaluation.result import Evaluation, detection_metrics
from infdet_deploy.evaluation.scorers import Scorer, open_scorer
from infdet_deploy.evaluation.subjects import kind_of
from infdet_deploy.files import whole_folder
from infdet_deploy.metrics.recognition import evaluate_recognition
from infdet_deploy.metrics.thresholds import detections, fit_thresholds


def evaluate(
    subject: Path | str,
    data: DataSet | Path | str,
    options: EvaluateOptions | None = None,
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """Compute mean average precision at temporal IoU 0.1 to 0.5, precision-recall curves and an error breakdown.

    subject: a detection file (THUMOS text, ActivityNet or `detect --json`), a run folder, a .safetensors checkpoint or
    a bundle. data: a data set; for detections, annotations suffice. on_progress: called with steps done, all steps and
    the current step. Raises UsageError for options that do not fit the subject, AnnotationError and VideoError for data
    that does not fit it.
    """
    subject, options = Path(subject), options or EvaluateOptions()
    kind = kind_of(subject)
    if kind != "bundle" and (options.backend or options.precision):
        raise UsageError(f"backend and precision are for bundles; {subject} contains {kind}")
    if kind == "detections" and options.fit_thresholds:
        raise UsageError(f"fitting thresholds needs scores; {subject} has detections; use a run, checkpoint or bundle")
    if options.out is not None:
        check_out(Path(options.out))
    dataset = data if isinstance(data, DataSet) else open_dataset(data)
    if kind == "detections":
        return _evaluate_file(subject, dataset, options)
    with open_scorer(kind, subject, options.backend, options.precision) as scorer:
        subset = options.subset or ("testing" if dataset.subset("testing") else None)
        clips = dataset.usable(subset, scorer.classes)
        report = on_progress or (lambda done, total, text="", /: None)
        before = _thresholds(scorer) if options.fit_thresholds else None
        if options.fit_thresholds:
            _fit(scorer, dataset, subject, report)
        scored = scorer.score(dataset, subset, report)
        metrics = recognition = None
        if scorer.task == "recognition":
            labels = [trimmed(one.annotation).label for one in scored]
            recognition = evaluate_recognition([clip_score(one.scores) for one in scored], labels, scorer.classes)
        else:
            found = detections(scored, scorer.classes, scorer.rule)
            metrics = detection_metrics(clips, found, scorer.classes, options.protocols)
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
    metrics = detection_metrics(clips, read_detections(subject, ids), None, options.protocols)
    result = Evaluation(str(subject), "detections", str(dataset.annotations), options.subset, len(clips), metrics)
    if options.out is not None:
        with whole_folder(options.out) as folder:
            write_report(folder, result)
    return result


def _thresholds(scorer: Scorer) -> dict[str, float]:
    return dict(zip(scorer.classes, scorer.rule.thresholds, strict=True))


def _fit(scorer: Scorer, dataset: DataSet, subject: Path, on_progress: OnProgress) -> None:
    """Fit the thresholds on the subset `training` and store them."""
    if scorer.task == "recognition":
        raise UsageError(f"{subject} recognises trimmed clips, without thresholds; fitting them is for detection")
    scored = scorer.score(dataset, "training", on_progress)
    scorer.store(fit_thresholds(scored, scorer.classes, scorer.rule.mean_duration_s))
