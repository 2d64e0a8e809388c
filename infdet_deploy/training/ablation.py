"""The paper's ablation study (Tables IV and V): each row a network of its own, trained and judged in the same way."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infdet_deploy.config import read_json
from infdet_deploy.datasets import open_dataset
from infdet_deploy.detections import DetectionRule, default_thresholds
from infdet_deploy.errors import UsageError
from infdet_deploy.files import write_json
from infdet_deploy.model.network import InfDetNet
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.model.weights import load_network, with_config
from infdet_deploy.training import checkpoint
from infdet_deploy.training.dataset import load_dataset
from infdet_deploy.training.evaluation import evaluate_network, still_flow_loss
from infdet_deploy.training.loop import Progress, train
from infdet_deploy.training.placement import arrange
from infdet_deploy.training.settings import TrainConfig
from infdet_deploy.training.start import fresh_network

ROW = "row.json"  # beside a finished run: what it reached on the test clips


@dataclass(frozen=True)
class Row:
    """method: as the paper calls it, in Table IV (`method`) and V (`combination`), empty where it is not in it.

    paper: its mAP at IoU 0.5 on InfDet, in percent.
    """

    name: str
    method: str
    combination: str
    streams: str
    flow: str
    fusion: str
    paper: float

    def model(self, base: ModelConfig) -> ModelConfig:
        """The row's network at the base's size, width and classes."""
        variant = {"streams": self.streams, "flow": self.flow, "fusion": self.fusion, "task": "detection"}
        return ModelConfig.from_json(base.to_json() | variant)


ROWS = (
    Row("infrared", "infrared only", "baseline", "infrared", "fen", "none", 33.77),
    Row("flow-tvl1", "flow only", "", "flow", "tvl1", "none", 25.69),
    Row("late-tvl1", "two-stream", "late fusion", "both", "tvl1", "late", 34.05),
    Row("self-infrared", "infrared+SA", "", "infrared", "fen", "self", 33.81),
    Row("cross-tvl1", "two-stream+CA", "", "both", "tvl1", "cross", 33.82),
    Row("sca-tvl1", "two-stream+SCA", "our SCA", "both", "tvl1", "sca", 36.99),
    Row("sca-fen", "two-stream+SCA", "", "both", "fen", "sca", 37.83),
    Row("min-tvl1", "", "min", "both", "tvl1", "min", 35.49),
    Row("max-tvl1", "", "max", "both", "tvl1", "max", 34.60),
    Row("concat-tvl1", "", "concatenate", "both", "tvl1", "concat", 34.16),
)


def choose(names: Sequence[str]) -> tuple[Row, ...]:
    """The rows of these names, all where there is none; raises UsageError for an unknown one."""
    known = {row.name: row for row in ROWS}
    for name in names:
        if name not in known:
            raise UsageError(f"no row '{name}'; rows are {', '.join(known)}")
    return tuple(known[name] for name in names) or ROWS


def run_rows(
    data: Path,
    out: Path,
    base: ModelConfig,
    config: TrainConfig,
    rows: Sequence[Row] = ROWS,
    initial: InfDetNet | None = None,
    on_progress: Callable[[Row, Progress], None] | None = None,
) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Train and judge every row in a run folder `out`/NAME; rows finished there are not done again.

    initial: a network whose weights every row starts from as far as they fit. Yields each row with
    `{"map": {"0.1": …}, "ap": {class: {…}}, "flow_loss": [before, after, of no motion] or None, "seconds"}` on the
    test clips.
    Raises TrainingError where a folder holds a run of other settings or other data; errors of `train`.
    """
    if not any(clip.instances for clip in open_dataset(data).subset(config.test_subset)):
        raise UsageError(f"{data}: no instance in subset '{config.test_subset}' to judge the rows by")
    for row in rows:
        folder, model = out / row.name, row.model(base)
        described = {"model": model.to_json(), "training": config.to_json(), "data": str(data.resolve())}
        begun = (folder / checkpoint.RUN).is_file()
        if begun:
            checkpoint.check_run(folder, described)
        if not (folder / ROW).is_file():
            start = (
                fresh_network(model, config.seed) if initial is None else with_config(initial, model, config.seed)[0]
            )

            def report(progress: Progress, row: Row = row) -> None:
                if on_progress is not None:
                    on_progress(row, progress)

            result = train(data, folder, model, config, begun, report, start)
            flow = None
            if model.has_fen:
                test = load_dataset(data, config.test_subset, model)
                rule = DetectionRule(default_thresholds(model.classes), result.mean_duration_s)
                networks = (arrange(start, config), arrange(load_network(result.best)[0], config))
                flow = [evaluate_network(n, test, rule, config.device)["flow"] for n in networks]
                flow.append(still_flow_loss(test))
            assert result.test is not None
            write_json(
                folder / ROW,
                {
                    "map": result.test["map"],
                    "ap": result.test["ap"],
                    "flow_loss": flow,
                    "seconds": sum(result.seconds.values()),
                },
            )
        yield row, read_json(folder / ROW, "row")


def report(found: Sequence[tuple[Row, dict[str, Any]]]) -> list[dict[str, Any]]:
    """JSON-ready rows: what they are, what they reached, and what the paper did, mAP in percent."""
    return [
        dataclasses.asdict(row)
        | {"map": {iou: 100 * value for iou, value in result["map"].items()}}
        | {key: result[key] for key in ("ap", "flow_loss", "seconds")}
        for row, result in found
    ]


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The paper's Tables IV and V with our figures beside the paper's, in percent; rows not run are left out."""
    lines = [
        "| Table IV: method | flow | mAP@0.5 | paper, InfDet | mAP@0.1 |",
        "|---|---|---:|---:|---:|",
    ]
    for row in rows:
        if row["method"]:
            flow = "-" if row["streams"] == "infrared" else {"fen": "FEN", "tvl1": "TV-L1"}[row["flow"]]
            lines.append(
                f"| {row['method']} | {flow} | {row['map']['0.5']:.2f} | {row['paper']:.2f} | {row['map']['0.1']:.2f} |"
            )
    combined = [row for row in rows if row["combination"]]
    base = next((row for row in combined if row["combination"] == "baseline"), None)
    if base is not None and len(combined) > 1:
        order = ("baseline", "late fusion", "min", "max", "concatenate", "our SCA")
        lines += ["", "| Table V: combination | mAP@0.5 | gain | paper, InfDet | gain |", "|---|---:|---:|---:|---:|"]
        for row in sorted(combined, key=lambda row: order.index(row["combination"])):
            gain, published = row["map"]["0.5"] - base["map"]["0.5"], row["paper"] - base["paper"]
            gains = ("-", "-") if row is base else (f"{gain:+.2f}", f"{published:+.2f}")
            name = row["combination"].replace("our SCA", "SCA")
            lines.append(f"| {name} | {row['map']['0.5']:.2f} | {gains[0]} | {row['paper']:.2f} | {gains[1]} |")
    for row in rows:
        if row["flow_loss"]:
            before, after, still = row["flow_loss"]
            lines += [
                "",
                f"Flow loss of the FEN on the test clips: {before:.3f} untrained, {after:.3f} trained; an estimate "
                f"that nothing moves has {still:.3f}.",
            ]
    return "\n".join(lines) + "\n"
