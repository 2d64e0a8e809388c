"""The folder that an evaluation writes: report.json and pictures."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from infdet_deploy.console import OnProgress
from infdet_deploy.datasets import DataSet
from infdet_deploy.errors import UsageError
from infdet_deploy.evaluation.result import Evaluation
from infdet_deploy.evaluation.scorers import Scorer
from infdet_deploy.files import write_json
from infdet_deploy.metrics.thresholds import ScoredClip
from infdet_deploy.plots.clip import draw_clip
from infdet_deploy.plots.curves import draw_errors, draw_precision_recall
from infdet_deploy.plots.figure import pyplot
from infdet_deploy.text import file_name

REPORT = "report.json"
CLIPS_DRAWN = 12


def check_out(out: Path) -> None:
    """Raise before the evaluation if matplotlib is missing or the folder exists and is not an earlier report."""
    pyplot()
    if out.exists() and not (out.is_dir() and (out / REPORT).is_file()):
        raise UsageError(f"{out} exists and is not an earlier report; choose another folder or remove it")


def write_report(folder: Path, evaluation: Evaluation) -> None:
    """Write report.json and the pictures that need no frames."""
    write_json(folder / REPORT, evaluation.to_dict())
    if found := evaluation.detection:
        draw_precision_recall(folder / "precision_recall.png", found.rankings, found.protocols, found.errors.iou)
        draw_errors(folder / "errors.png", found.errors)


def draw_clips(
    folder: Path, dataset: DataSet, scorer: Scorer, scored: Sequence[ScoredClip], on_progress: OnProgress
) -> None:
    """Draw timelines of up to 12 clips, clips with instances first; recordings with pauses are left out."""
    whole = [one for one in scored if one.annotation.name in dataset.media]
    shown = sorted(whole, key=lambda one: not one.annotation.instances)[:CLIPS_DRAWN]
    for index, one in enumerate(shown):
        clip = one.annotation
        on_progress(index, len(shown), f"draw {clip.name}")
        video = replace(dataset.video(clip, scorer.preparation), parts=())  # in seconds from the first frame
        found = one.detect(scorer.classes, scorer.rule)
        path = folder / f"{file_name(clip.name)}.png"
        draw_clip(path, video, one.scores, scorer.classes, scorer.rule, found, clip.instances)
