"""Curves for TensorBoard, in the run's folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from infdet_deploy.errors import missing_package

FOLDER = "tensorboard"


class Board:
    """Writes scalars while a `with` block lasts; does nothing where not wanted.

    Raises InfdetError where TensorBoard is wanted and not installed.
    """

    def __init__(self, out: Path, wanted: bool) -> None:
        self.out = out
        self.writer: Any = None
        if wanted:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise missing_package("tensorboard", "train", "--tensorboard") from None
            self.kind = SummaryWriter
        self.wanted = wanted

    def __enter__(self) -> "Board":
        return self

    def __exit__(self, *_: object) -> None:
        if self.writer is not None:
            self.writer.close()

    def start(self, step: int) -> None:
        """Begin, or go on after `step`: what a killed run wrote beyond it is hidden."""
        if self.wanted:
            self.writer = self.kind(str(self.out / FOLDER), purge_step=step + 1)

    def step(self, step: int, losses: Sequence[float], rate: float, norm: float) -> None:
        """losses: total, classification, flow."""
        if self.writer is not None:
            names = ("loss/total", "loss/classification", "loss/flow", "learning_rate", "gradient_norm")
            for name, value in zip(names, (*losses, rate, norm), strict=True):
                self.writer.add_scalar(name, value, step)

    def validation(self, step: int, metrics: dict[str, Any]) -> None:
        """What `judge` found."""
        if self.writer is None:
            return
        scalars = {f"validation/{name}": metrics[name] for name in ("loss", "classification", "flow")}
        if "accuracy" in metrics:
            scalars |= {"validation/accuracy": metrics["accuracy"], "validation/mAP": metrics["map"]}
        else:
            scalars |= {f"validation/mAP@{iou}": value for iou, value in metrics["map"].items()}
            scalars |= {f"validation/AP@0.5/{label}": ap["0.5"] for label, ap in metrics["ap"].items()}
        for name, value in scalars.items():
            if value is not None:
                self.writer.add_scalar(name, value, step)
        self.writer.flush()
