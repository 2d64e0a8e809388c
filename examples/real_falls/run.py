"""Everything in one command: python run.py PUBLISHED WORK [--days DATE …] [--seeds 0 1 2] [--methods …].

For each test day: make the data set, then train and judge gradient boosting, the temporal convolution network and
infdet-deploy's own network with each seed. Finished runs in WORK are kept, so an interrupted command continues.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from boosting import look_ahead_s, run_boosting
from data_set import CLASSES, days_in, make_data_set
from judge import judge_data, write_detections

from infdet_deploy import InfdetError, TrainOptions, UsageError, open_dataset, train
from infdet_deploy.console import progress, say
from infdet_deploy.datasets.instances import ScoredInstance
from infdet_deploy.evaluation.scorers import open_scorer
from infdet_deploy.live.decisions import SETTLE_SNIPPETS
from infdet_deploy.metrics.thresholds import detections
from infdet_deploy.training.options import parse_settings

METHODS = ("boosting", "tcn", "infdet")

Found = tuple[list[ScoredInstance], float]  # detections; seconds from an action's end to its report


def run_method(method: str, data: Path, seed: int, out: Path, network: dict[str, Any]) -> Found:
    """Train one method on a data set's training days and detect on its test day.

    out: infdet's run folder. network: infdet's preset and settings.
    """
    if method == "boosting":
        found, rule = run_boosting(data, seed)
        return found, look_ahead_s(rule)
    if method == "tcn":
        from tcn import LOOK_AHEAD_S, run_tcn  # imports torch

        return run_tcn(data, seed), LOOK_AHEAD_S
    return run_infdet(data, seed, out, network)


def run_infdet(data: Path, seed: int, out: Path, network: dict[str, Any]) -> Found:
    """Train infdet-deploy's network; the detections of its best checkpoint.

    The delay is 6 snippets: `watch` decides once 6 snippets follow an action's end.
    """
    train(data, TrainOptions(streams="infrared", seed=seed, out=out, **network))
    with progress("score") as on_progress, open_scorer(out, True, None, None) as scorer:
        scored = scorer.score(open_dataset(data), "testing", on_progress)
        found = detections(scored, scorer.classes, scorer.rule)
    rates = sorted(clip.snippets_per_second for clip in scored)
    return found, SETTLE_SNIPPETS / rates[len(rates) // 2]


def judged_run(data: Path, results: Path, method: str, seed: int, network: dict[str, Any]) -> dict[str, Any]:
    """The numbers of one run, read from `results` or computed and written there."""
    file = results / f"{method}-{seed}.json"
    if not file.is_file():
        say(f"{results.name}: {method}, seed {seed}")
        results.mkdir(parents=True, exist_ok=True)
        found, delay_s = run_method(method, data, seed, results / f"{method}-{seed}", network)
        write_detections(results / f"{method}-{seed}.detections.json", found)
        report = judge_data(data, found).to_dict() | {"delay_s": delay_s}
        file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def numbers(report: dict[str, Any]) -> dict[str, float | None]:
    """The columns of the final table; `*`: without the stretches in which people get up after a fall."""
    every, without = report["all"], report["without_rising"]
    columns = {f"mAP {iou}": value for iou, value in every["map"].items()}
    columns |= {"mAP 0.5*": without["map"]["0.5"]}
    columns |= {f"{label} 0.5": every["ap"][label]["0.5"] for label in CLASSES}
    columns |= {"standup 0.5*": without["ap"]["standup"]["0.5"]}
    columns |= {f"false {label}/h": every["false_per_hour"][label] for label in CLASSES}
    columns |= {"false standup/h*": without["false_per_hour"]["standup"], "delay s": report["delay_s"]}
    return columns


def final_table(reports: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    """A Markdown table: a row for each (method, day), mean (lowest–highest) over the seeds."""
    lines: list[list[str]] = []
    for (method, day), runs in reports.items():
        rows = [numbers(run) for run in runs]
        if not lines:
            lines = [["method", "test day", *rows[0]], ["---", "---", *["---:"] * len(rows[0])]]
        lines.append([method, day, *(_spread([row[key] for row in rows], key) for key in rows[0])])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _spread(values: Sequence[float | None], key: str) -> str:
    """Mean and range; a dash where a seed has no number, as it did not reach the recall."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return f"– (reached by {len(known)} of {len(values)} seeds)" if known else "–"
    digits = 1 if key.endswith(("/h", "/h*", " s")) else 3
    mean, low, high = sum(known) / len(known), min(known), max(known)
    spread = f" ({low:.{digits}f}–{high:.{digits}f})" if round(low, digits) < round(high, digits) else ""
    return f"{mean:.{digits}f}{spread}"


def run(published: Path, work: Path, days: Sequence[str], seeds: Sequence[int], methods: Sequence[str],
        network: dict[str, Any]) -> str:  # fmt: skip
    """Make what is missing in `work` and return the final table. Raises as the methods do."""
    if unknown := sorted(set(methods) - set(METHODS)):
        raise UsageError(f"--methods has {', '.join(unknown)}, expected some of {', '.join(METHODS)}")
    reports: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for day in days or days_in(published):
        data = work / "data" / day
        if not (data / "annotations.json").is_file():
            make_data_set(published, data, day)
        for method in methods:
            results = work / "results" / day
            reports[method, day] = [judged_run(data, results, method, seed, network) for seed in seeds]
    return final_table(dict(sorted(reports.items(), key=lambda item: (METHODS.index(item[0][0]), item[0][1]))))


def main() -> None:
    parser = argparse.ArgumentParser(description="Train and judge every method on every test day.")
    parser.add_argument("published", type=Path, help="the published folder")
    parser.add_argument("work", type=Path, help="data sets and results; finished runs in it are kept")
    parser.add_argument("--days", nargs="+", default=[], help="test days; default: every day, each in turn")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=METHODS, help=f"default: {' '.join(METHODS)}")
    parser.add_argument("--preset", default="array", help="of infdet-deploy's network")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="training settings of the network")
    options = parser.parse_args()
    try:
        network = {"preset": options.preset, "settings": parse_settings(options.set)}
        print(run(options.published, options.work, options.days, options.seeds, options.methods, network))
    except InfdetError as error:
        parser.exit(error.exit_status, f"{error}\n")


if __name__ == "__main__":
    main()
