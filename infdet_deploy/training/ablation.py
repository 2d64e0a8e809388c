"""The paper's ablation study (Tables IV and V): each row is a network; all are trained and tested alike."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infdet_deploy.config import from_dict, read_json
from infdet_deploy.datasets import open_dataset
from infdet_deploy.detections import DetectionRule, default_thresholds
from infdet_deploy.errors import Interrupted, UsageError
from infdet_deploy.files import whole_file, write_json
from infdet_deploy.model.network import InfDetNet
from infdet_deploy.model.presets import ModelConfig, preset
from infdet_deploy.model.weights import load_network, with_config
from infdet_deploy.training import run_folder
from infdet_deploy.training.checkpoint import starting_network
from infdet_deploy.training.dataset import load_dataset
from infdet_deploy.training.distributed import launched_world
from infdet_deploy.training.initialization import fresh_network
from infdet_deploy.training.layers import prepare_for_training
from infdet_deploy.training.loop import OnProgress, Progress, TrainResult, run_training
from infdet_deploy.training.options import AblateOptions, TrainConfig
from infdet_deploy.training.train import SYNTHETIC, make_synthetic
from infdet_deploy.training.validation import evaluate_network, still_flow_loss

ROW = "row.json"  # in a finished row's run folder: its RowResult


@dataclass(frozen=True)
class Row:
    """method, combination: the row's name in the paper's Tables IV and V, empty if it is not in the table.

    paper: its published mAP at IoU 0.5 on InfDet, in percent.
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
_TABLE_V = ("baseline", "late fusion", "min", "max", "concatenate", "our SCA")


@dataclass(frozen=True)
class RowResult:
    """map: mAP by IoU threshold, ap: the same by class, on the test clips, 0–1.

    flow_loss: of the FEN on the test clips before training, after it, and of predicting no motion; None without FEN.
    seconds: of the training.
    """

    map: dict[str, float]
    ap: dict[str, dict[str, float | None]]
    flow_loss: tuple[float, float, float] | None
    seconds: float


@dataclass(frozen=True)
class AblationResult:
    """The result of `ablate`: the trained rows and their options."""

    data: Path
    preset: str
    steps: int
    seed: int
    rows: tuple[tuple[Row, RowResult], ...]

    @property
    def markdown(self) -> str:
        """See `markdown`."""
        return markdown(self.rows)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; mAP in percent."""
        rows = [
            vars(row) | vars(result) | {"map": {iou: 100 * value for iou, value in result.map.items()}}
            for row, result in self.rows
        ]
        return vars(self) | {"data": str(self.data), "rows": rows, "markdown": self.markdown}


def ablate(
    data: Path | str | None = None, options: AblateOptions | None = None, on_progress: OnProgress | None = None
) -> AblationResult:
    """Train and test the rows of the paper's tables; without data on synthetic clips in `data/synthetic`.

    Each row has a run folder in `options.out`; finished rows are not repeated. Writes `ablation.json` and `ablation.md`
    there. Raises UsageError under torchrun, for an unknown row and for data without test instances, TrainingError if a
    run folder has other settings or data, Interrupted after Ctrl-C or SIGTERM; errors of `run_training`.
    """
    options, report = options or AblateOptions(), on_progress or (lambda progress: None)
    if launched_world().size > 1:
        raise UsageError("ablate runs in one process; divide the rows among machines with --only")
    rows = choose(options.only)
    config = TrainConfig.from_json(options.changes())
    initial = starting_network(options.weights)
    base = preset(options.preset) if initial is None else initial.config
    if data is None:
        data = SYNTHETIC
        make_synthetic(data, report)
    dataset = open_dataset(data)
    if not any(clip.instances for clip in dataset.subset(config.test_subset)):
        raise UsageError(f"{data}: no instance in subset '{config.test_subset}' to test the rows with")
    base = dataclasses.replace(base, classes=dataset.classes)
    results: list[tuple[Row, RowResult]] = []
    for number, row in enumerate(rows, 1):

        def show(progress: Progress, name: str = f"row {number}/{len(rows)} {row.name}") -> None:
            report(dataclasses.replace(progress, row=name))

        result = _run_row(Path(data), options.out / row.name, row.model(base), config, initial, show)
        results.append((row, result))
        note = f"{row.name}: mAP@0.5 {100 * result.map['0.5']:.2f} (paper {row.paper:.2f}), {options.out / row.name}"
        report(Progress("train", config.steps, config.steps, note=note))
    ablation = AblationResult(Path(data), options.preset, config.steps, config.seed, tuple(results))
    write_json(options.out / "ablation.json", ablation.to_dict())
    with whole_file(options.out / "ablation.md") as temporary:
        temporary.write_text(ablation.markdown, encoding="utf-8")
    return ablation


def choose(names: Sequence[str]) -> tuple[Row, ...]:
    """The rows of these names, or all rows; raises UsageError for an unknown name."""
    known = {row.name: row for row in ROWS}
    for name in names:
        if name not in known:
            raise UsageError(f"no row '{name}'; rows are {', '.join(known)}")
    return tuple(known[name] for name in names) or ROWS


def _run_row(
    data: Path, folder: Path, model: ModelConfig, config: TrainConfig, initial: InfDetNet | None, show: OnProgress
) -> RowResult:
    """Train and test a row in its run folder, or read its result there. initial: start from its weights that fit."""
    described = {"model": model.to_json(), "training": config.to_json(), "data": str(data.resolve())}
    resume = (folder / run_folder.RUN).is_file()
    if resume:
        run_folder.check_run(folder, described)
    if not (folder / ROW).is_file():
        start = fresh_network(model, config.seed) if initial is None else with_config(initial, model, config.seed)[0]
        try:
            result = run_training(data, folder, model, config, resume=resume, on_progress=show, initial=start)
        except Interrupted as error:
            message = str(error).split(";")[0]
            raise Interrupted(f"row {folder.name}: {message}; run the same command again to continue") from None
        write_json(folder / ROW, dataclasses.asdict(_tested(data, model, config, start, result)))
    return from_dict(RowResult, read_json(folder / ROW, "row"), str(folder / ROW))


def _tested(data: Path, model: ModelConfig, config: TrainConfig, start: InfDetNet, result: TrainResult) -> RowResult:
    flow = None
    if model.has_fen:
        test = load_dataset(data, config.test_subset, model, ends=config.ends)
        rule = DetectionRule(default_thresholds(model.classes, config.ends), result.mean_duration_s, ends=config.ends)
        networks = (prepare_for_training(n, config) for n in (start, load_network(result.best)[0]))
        before, after = (evaluate_network(n, test, rule, config.device)["flow"] for n in networks)
        flow = before, after, still_flow_loss(test)
    assert result.test is not None
    return RowResult(result.test["map"], result.test["ap"], flow, sum(result.seconds.values()))


def markdown(rows: Sequence[tuple[Row, RowResult]]) -> str:
    """The paper's Tables IV and V in percent, with our figures next to the paper's; only rows that were run."""
    lines = [
        "| Table IV: method | flow | mAP@0.5 | paper, InfDet | mAP@0.1 |",
        "|---|---|---:|---:|---:|",
    ]
    reached = {row.name: 100 * result.map["0.5"] for row, result in rows}
    for row, result in rows:
        if row.method:
            flow = "-" if row.streams == "infrared" else {"fen": "FEN", "tvl1": "TV-L1"}[row.flow]
            ours, low = reached[row.name], 100 * result.map["0.1"]
            lines.append(f"| {row.method} | {flow} | {ours:.2f} | {row.paper:.2f} | {low:.2f} |")
    combined = sorted((row for row, _ in rows if row.combination), key=lambda row: _TABLE_V.index(row.combination))
    if len(combined) > 1 and combined[0].combination == "baseline":
        base = combined[0]
        lines += ["", "| Table V: combination | mAP@0.5 | gain | paper, InfDet | gain |", "|---|---:|---:|---:|---:|"]
        for row in combined:
            ours = reached[row.name]
            gains = f"{ours - reached[base.name]:+.2f}", f"{row.paper - base.paper:+.2f}"
            gains = ("-", "-") if row is base else gains
            name = row.combination.replace("our SCA", "SCA")
            lines.append(f"| {name} | {ours:.2f} | {gains[0]} | {row.paper:.2f} | {gains[1]} |")
    for _, result in rows:
        if result.flow_loss:
            before, after, still = result.flow_loss
            lines += [
                "",
                f"Flow loss of the FEN on the test clips: {before:.3f} untrained, {after:.3f} trained; predicting no "
                f"motion has {still:.3f}.",
            ]
    return "\n".join(lines) + "\n"
