"""Judging detections."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infdet_deploy.console import progress
from infdet_deploy.errors import UsageError
from infdet_deploy.files import whole_folder, write_json

if TYPE_CHECKING:
    from infdet_deploy.datasets import DataSet
    from infdet_deploy.datasets.annotations import Clip, ScoredInstance
    from infdet_deploy.evaluation.scorers import Scorer
    from infdet_deploy.metrics.average_precision import Ranking
    from infdet_deploy.metrics.thresholds import ScoredClip

    Rankings = dict[str, dict[str, Ranking]]  # by protocol, then by class

REPORT = "report.json"
CLIPS_DRAWN = 12


def evaluate(
    what: Path,
    data: Path,
    subset: str | None,
    protocol: str,
    fit: bool,
    backend: str | None,
    precision: str | None,
    out: Path | None,
) -> dict[str, Any]:
    """Judge a detection file, a checkpoint or a bundle; the report, JSON-ready, also written to `out` with pictures.

    subset: None for all clips of a detection file; for networks `testing`, where the set has it, else all. fit: fit
    the thresholds on the subset `training` first, and store them in the checkpoint or bundle.
    """
    from infdet_deploy.datasets import open_dataset
    from infdet_deploy.evaluation.scorers import kind_of, open_scorer
    from infdet_deploy.metrics.thresholds import detections

    if protocol not in ("both", "thumos14", "activitynet"):
        raise UsageError(f"--protocol is '{protocol}', expected both, thumos14 or activitynet")
    kind = kind_of(what)
    if kind != "bundle" and (backend or precision):
        raise UsageError(f"--backend and --precision are for bundles; {what} holds {kind}")
    if kind == "detections" and fit:
        raise UsageError(
            f"--fit-thresholds needs scores; {what} holds detections, give a run, a checkpoint or a bundle"
        )
    if out is not None:
        _check_out(out)
    dataset = open_dataset(data)
    protocols = ("thumos14", "activitynet") if protocol == "both" else (protocol,)
    head: dict[str, Any] = {"what": str(what), "kind": kind, "data": str(dataset.annotations)}
    if kind == "detections":
        from infdet_deploy.datasets.detection_files import read_detections
        from infdet_deploy.datasets.formats.thumos import read_class_ids

        clips = dataset.select(subset)
        ids = read_class_ids(dataset.annotations) if dataset.annotations.is_dir() else None
        report, rankings = _judge(head | {"subset": subset}, clips, read_detections(what, ids), None, protocols)
        if out is not None:
            with whole_folder(out) as folder:
                _write(folder, report, rankings)
        return report
    with open_scorer(kind, what, backend, precision) as scorer:
        subset = subset or ("testing" if dataset.subset("testing") else None)
        clips = dataset.usable(subset, scorer.classes)
        head["subset"] = subset
        if scorer.task == "recognition" and fit:
            raise UsageError(f"--fit-thresholds is for detection; {what} recognises trimmed clips, without thresholds")
        if fit:
            head["thresholds_before"] = dict(zip(scorer.classes, scorer.rule.thresholds, strict=True))
            scorer.store(_fit(scorer, dataset))
        head["thresholds"] = dict(zip(scorer.classes, scorer.rule.thresholds, strict=True))
        scored = scorer.score(dataset, subset)
        if scorer.losses is not None:
            head["losses"] = scorer.losses
        if scorer.task == "recognition":
            report = head | {"clips": len(clips), "recognition": _recognition(scored, scorer.classes)}
            if out is not None:
                with whole_folder(out) as folder:
                    write_json(folder / REPORT, report)
                    scorer.draw_flow(folder / "flow.png")
            return report
        found = detections(scored, scorer.classes, scorer.rule)
        report, rankings = _judge(head, clips, found, scorer.classes, protocols)
        if out is not None:
            with whole_folder(out) as folder:
                _write(folder, report, rankings)
                _draw_clips(folder / "timelines", dataset, scorer, scored)
                scorer.draw_flow(folder / "flow.png")
    return report


def _recognition(scored: Sequence["ScoredClip"], classes: tuple[str, ...]) -> dict[str, Any]:
    from infdet_deploy.datasets.trimmed import trimmed
    from infdet_deploy.detections import clip_score
    from infdet_deploy.metrics.recognition import evaluate_recognition

    labels = [trimmed(one.annotation).label for one in scored]
    return evaluate_recognition([clip_score(one.scores) for one in scored], labels, classes)


def _check_out(out: Path) -> None:
    """Refuse what cannot be written before the work begins, and a folder that something else lives in."""
    from infdet_deploy.plots.figure import pyplot

    pyplot()
    if out.exists() and not (out.is_dir() and (out / REPORT).is_file()):
        raise UsageError(f"--out {out} exists and is no earlier report; choose another folder or remove it")


def _fit(scorer: "Scorer", dataset: "DataSet") -> tuple[float, ...]:
    from infdet_deploy.metrics.thresholds import fit_thresholds

    scored = scorer.score(dataset, "training")
    return fit_thresholds(scored, scorer.classes, scorer.rule.mean_duration_s)


def _judge(
    head: dict[str, Any],
    clips: Sequence["Clip"],
    detections: Sequence["ScoredInstance"],
    classes: tuple[str, ...] | None,
    protocols: tuple[str, ...],
) -> tuple[dict[str, Any], "Rankings"]:
    """The report, and the rankings of each protocol by class."""
    from infdet_deploy.metrics import average_precision as metrics
    from infdet_deploy.metrics.breakdown import IOU, breakdown

    classes = metrics.labels_of(clips, detections) if classes is None else classes
    report = head | {
        "classes": list(classes),
        "clips": len(clips),
        "instances": sum(len(clip.instances) for clip in clips),
        "detections": len(detections),
        "protocols": {},
        "precision_recall": {"iou": IOU},
        "errors": breakdown(clips, detections, classes),
    }
    rankings = {}
    for name in protocols:
        result = metrics.evaluate(clips, detections, name, classes)  # type: ignore[arg-type]
        rankings[name] = metrics.precision_recall(clips, detections, name, classes, IOU)  # type: ignore[arg-type]
        report["protocols"][name] = {"map": result["map"], "ap": result["ap"]}
        report["precision_recall"][name] = {
            label: {
                "score": ranking.scores.tolist(),
                "precision": ranking.precision.tolist(),
                "recall": ranking.recall.tolist(),
            }
            for label, ranking in rankings[name].items()
        }
    return report, rankings


def _write(folder: Path, report: dict[str, Any], rankings: "Rankings") -> None:
    """The report and the pictures that need no frames."""
    from infdet_deploy.plots.curves import draw_errors, draw_precision_recall

    write_json(folder / REPORT, report)
    iou = report["precision_recall"]["iou"]
    ap = {
        protocol: {label: report["protocols"][protocol]["ap"][label][f"{iou:g}"] for label in ranked}
        for protocol, ranked in rankings.items()
    }
    draw_precision_recall(folder / "precision_recall.png", rankings, ap, iou)
    draw_errors(folder / "errors.png", report["errors"])


def _draw_clips(folder: Path, dataset: "DataSet", scorer: "Scorer", scored: Sequence["ScoredClip"]) -> None:
    """Timelines of the first clips, of those with instances before the others."""
    from infdet_deploy.plots.clip import draw_clip

    shown = sorted(scored, key=lambda one: not one.annotation.instances)[:CLIPS_DRAWN]
    with progress("draw") as update:
        for index, one in enumerate(shown):
            clip = one.annotation
            update(index, len(shown), clip.name)
            video = dataset.video(clip, scorer.size, scorer.frame_mode)
            found = one.detect(scorer.classes, scorer.rule)
            path, thresholds = folder / f"{clip.name}.png", scorer.rule.thresholds
            draw_clip(path, video, one.scores, scorer.classes, thresholds, found, clip.instances)
