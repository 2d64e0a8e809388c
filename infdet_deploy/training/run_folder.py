"""A training run's folder: its files, and how a run is found.

1. `best.safetensors`, `last.safetensors`: networks for use (see `model.weights`), with thresholds, mean durations and
   frame mode in their header.
2. `state.safetensors`: everything that resuming needs (see `checkpoint`).
3. `run.json`: model and training configuration, data set, history of metrics, and at the end the result.

Files are written atomically. This module imports no torch.
"""

import re
from pathlib import Path
from typing import Any

from infdet_deploy.bundle.loading import WEIGHTS
from infdet_deploy.bundle.manifest import MANIFEST
from infdet_deploy.bundle.pretrained import bundle_folder
from infdet_deploy.config import read_json
from infdet_deploy.errors import ConfigError, InfdetError, TrainingError, UsageError

RUNS = Path("runs")  # the default place of run folders
BEST, LAST, STATE, RUN = "best.safetensors", "last.safetensors", "state.safetensors", "run.json"


def read_run(out: Path) -> dict[str, Any]:
    """The content of `run.json`. Raises UsageError where `out` contains no run, ConfigError for a damaged one."""
    if not (out / RUN).is_file():
        raise UsageError(f"{out}: no training run to resume there; start one without --resume")
    run = read_json(out / RUN, "run")
    if not isinstance(run, dict) or not all(isinstance(run.get(part), dict) for part in ("model", "training")):
        raise ConfigError(f"{out / RUN} is damaged: it does not describe a run")
    return run


def check_run(out: Path, described: dict[str, Any]) -> None:
    """Raise TrainingError if the run in `out` has other configurations or data than `described`; see `read_run`."""
    run = read_run(out)
    for part in ("model", "training"):
        if run[part] != described[part]:
            changes = [
                f"{key} {run[part].get(key)!r} there, {value!r} here"
                for key, value in described[part].items()
                if run[part].get(key) != value
            ]
            raise TrainingError(
                f"{out}: the run has another {part} configuration ({'; '.join(changes) or 'damaged'}); use the options "
                "that it was started with, or start another run"
            )
    if run.get("data") != described["data"]:
        raise TrainingError(f"{out}: the run was started on {run.get('data')}, not on {described['data']}")


def checkpoint_file(run: Path) -> Path:
    """The checkpoint of a run folder (its best) or of a bundle, "pretrained" included; `run` itself if it is a file.

    Raises InfdetError for a folder without checkpoint.
    """
    run = bundle_folder(run)
    if not run.is_dir():
        return run
    for name in (BEST, WEIGHTS):
        if (run / name).is_file():
            return run / name
    if (run / MANIFEST).is_file():
        raise InfdetError(f"{run} has no {WEIGHTS}; use the run that it was exported from, or export it with weights")
    raise InfdetError(f"{run} contains no {BEST}: is it a run folder, and has it been trained?")


def newest_run(root: Path | str = RUNS) -> Path:
    """The run folder below `root` whose `run.json` was written last. Raises TrainingError if there is none."""
    runs = sorted(Path(root).glob(f"*/{RUN}"), key=lambda path: path.stat().st_mtime_ns)
    if not runs:
        raise TrainingError(f"{root}: no training run there; train first, or name the run's folder")
    return runs[-1].parent


def next_run(preset: str) -> Path:
    """A new run folder, `runs/PRESET-N`."""
    taken = [int(m[1]) for p in RUNS.glob(f"{preset}-*") if (m := re.fullmatch(rf"{preset}-(\d+)", p.name))]
    return RUNS / f"{preset}-{max(taken, default=0) + 1}"


def clear_leftovers(out: Path) -> None:
    """Remove temporary files of a killed run."""
    for name in map(Path, (BEST, LAST, STATE, RUN)):
        for path in out.glob(f".{name.stem}.*{name.suffix}"):
            path.unlink(missing_ok=True)
