"""Measure detections on a day that was not trained on: python judge.py DATA DETECTIONS.json [--json FILE].

DATA is a folder that data_set.py made. DETECTIONS.json is in a form that `infdet-deploy eval` reads as well.

Getting up after a fall is not annotated, though it looks like `standup`. Every number is therefore given twice: for all
detections, and without the `standup` detections whose centre lies between the end of `lie` and the next annotated
segment, or the end of the recording.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data_set import CLASSES, Segment

from infdet_deploy import Clip, InfdetError, open_dataset
from infdet_deploy.datasets.detection_files import read_detections
from infdet_deploy.datasets.instances import ScoredInstance
from infdet_deploy.metrics.average_precision import mean_average_precision, rank_thumos14, truth_of

THRESHOLDS = (0.1, 0.3, 0.5, 0.7)  # temporal IoU of mean average precision
ALARM_IOU = 0.3  # a detection that overlaps an action less is a false alarm
ALARM_RECALL = 0.9  # share of a class's actions that must be found

Segments = Mapping[str, Sequence[Segment]]


@dataclass(frozen=True)
class Score:
    """map: THUMOS'14 mean average precision by IoU. ap: by class and IoU. Both 0–1.

    false_per_hour: by class, false alarms in an hour of video at the score at which 0.9 of the actions are found (IoU
    0.3); None where that recall is not reached.
    """

    map: dict[str, float]
    ap: dict[str, dict[str, float | None]]
    false_per_hour: dict[str, float | None]


@dataclass(frozen=True)
class Judgement:
    """The scores of all detections, and without `standup` where people get up after a fall; detections left out."""

    all: Score
    without_rising: Score
    left_out: int
    hours: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def judge(clips: Sequence[Clip], detections: Sequence[ScoredInstance], segments: Segments) -> Judgement:
    """Judge the detections of the clips; segments: every annotated segment by clip (see `read_segments`)."""
    hours = sum(clip.duration_s or 0.0 for clip in clips) / 3600
    rising = {clip.name: rising_stretches(segments.get(clip.name, ()), clip.duration_s or 0.0) for clip in clips}
    kept = [one for one in detections if not (one.label == "standup" and _inside(one, rising.get(one.video, [])))]
    left_out = len(detections) - len(kept)
    return Judgement(_score(clips, detections, hours), _score(clips, kept, hours), left_out, hours)


def rising_stretches(segments: Sequence[Segment], duration_s: float) -> list[tuple[float, float]]:
    """From the end of each `lie` to the start of the next segment of any label, or the end of the recording."""
    ordered = sorted(segments, key=lambda one: one.start_s)
    starts_s = [*(one.start_s for one in ordered), duration_s]
    return [(one.end_s, starts_s[place]) for place, one in enumerate(ordered, 1) if one.label == "lie"]


def false_alarms_per_hour(
    clips: Sequence[Clip], detections: Sequence[ScoredInstance], label: str, hours: float
) -> float | None:
    """False alarms of a class in an hour of video, at the highest score that reaches recall 0.9; None if none does.

    Detections with exactly that score count too: no threshold separates them.
    """
    truth = truth_of(clips, label)
    found = [one for one in detections if one.label == label]
    if not truth or not found:
        return None
    ranking = rank_thumos14(truth, found, ALARM_IOU)
    enough = ranking.recall >= ALARM_RECALL - 1e-9
    if not enough.any():
        return None
    reported = ranking.scores >= ranking.scores[enough.argmax()]
    return float((reported & ~ranking.hits).sum() / hours)


def read_segments(data: Path) -> dict[str, list[Segment]]:
    """Every annotated segment of a data set that data_set.py made, by recording."""
    content = json.loads((data / "segments.json").read_text(encoding="utf-8"))
    return {name: [Segment(**one) for one in found] for name, found in content.items()}


def judge_data(data: Path, detections: Sequence[ScoredInstance]) -> Judgement:
    """Judge detections of a data set's test day."""
    return judge(open_dataset(data).select("testing"), detections, read_segments(data))


def write_detections(path: Path, detections: Sequence[ScoredInstance]) -> None:
    """Write detections as ActivityNet results, which `infdet-deploy eval` reads."""
    results: dict[str, list[dict[str, Any]]] = {}
    for one in detections:
        entry = {"label": one.label, "segment": [one.start_s, one.end_s], "score": one.score}
        results.setdefault(one.video, []).append(entry)
    path.write_text(json.dumps({"results": results}, indent=1) + "\n", encoding="utf-8")


def table(judgement: Judgement) -> str:
    """The judgement as a Markdown table."""
    keys = list(judgement.all.map)
    head = ["", *(f"IoU {key}" for key in keys), "false/h"]
    lines = [head, ["---", *["---:"] * (len(keys) + 1)]]
    for title, score in (("", judgement.all), (", without getting up", judgement.without_rising)):
        rates = score.false_per_hour
        lines.append([f"mAP{title}", *(f"{score.map[key]:.3f}" for key in keys), ""])
        for label in CLASSES:
            if title and label != "standup":
                continue  # as above: only `standup` is left out
            values = (score.ap[label][key] for key in keys)
            lines.append([f"{label}{title}", *map(_number, values), _number(rates[label], ".1f")])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _score(clips: Sequence[Clip], detections: Sequence[ScoredInstance], hours: float) -> Score:
    found = mean_average_precision(clips, detections, "thumos14", CLASSES, THRESHOLDS)
    alarms = {label: false_alarms_per_hour(clips, detections, label, hours) for label in CLASSES}
    return Score(found.map, found.ap, alarms)


def _inside(one: ScoredInstance, stretches: Sequence[tuple[float, float]]) -> bool:
    centre_s = (one.start_s + one.end_s) / 2
    return any(start_s <= centre_s < end_s for start_s, end_s in stretches)


def _number(value: float | None, form: str = ".3f") -> str:
    return "–" if value is None else f"{value:{form}}"


def run_and_judge(description: str, method: Callable[[Path, int], tuple[list[ScoredInstance], str]]) -> None:
    """The command line of a method: DATA DETECTIONS [--seed N]. method: data, seed → detections and a note to print."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("data", type=Path, help="a folder that data_set.py made")
    parser.add_argument("detections", type=Path, help="the detections to write")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    begin = time.monotonic()
    try:
        detections, note = method(options.data, options.seed)
        write_detections(options.detections, detections)
        print(table(judge_data(options.data, detections)))
    except InfdetError as error:
        parser.exit(error.exit_status, f"{error}\n")
    print(f"\n{time.monotonic() - begin:.0f} s; {note}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure detections of the test day.")
    parser.add_argument("data", type=Path, help="a folder that data_set.py made")
    parser.add_argument("detections", type=Path, help="ActivityNet results or `detect --json`")
    parser.add_argument("--json", type=Path, help="also write every number to this file")
    options = parser.parse_args()
    try:
        judgement = judge_data(options.data, read_detections(options.detections))
    except InfdetError as error:
        parser.exit(error.exit_status, f"{error}\n")
    print(table(judgement))
    if options.json:
        options.json.write_text(json.dumps(judgement.to_dict(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
