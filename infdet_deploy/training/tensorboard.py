"""Curves for TensorBoard, in the run's folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from infdet_deploy.errors import missing_package

FOLDER = "tensorboard"


class TensorBoard:
    """Writes scalars within a `with` block; does nothing when not `enabled`.

    Raises InfdetError when enabled and TensorBoard is not installed.
    """

    def __init__(self, out: Path, enabled: bool) -> None:
        self.out = out
        self.writer: Any = None
        self.writer_class: Any = None
        if enabled:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise missing_package("tensorboard", "train", "--tensorboard") from None
            self.writer_class = SummaryWriter

    def __enter__(self) -> "TensorBoard":
        return self

    def __exit__(self, *_: object) -> None:
        if self.writer is not None:
            self.writer.close()

    def start(self, step: int) -> None:
        """Begin, or continue after `step`; later entries of an interrupted run are hidden."""
        if self.writer_class is not None:
            self.writer = self.writer_class(str(self.out / FOLDER), purge_step=step + 1)

    def step(self, step: int, losses: Sequence[float], rate: float, norm: float) -> None:
        """losses: total, classification, flow. norm: of the gradients."""
        names = ("loss/total", "loss/classification", "loss/flow", "learning_rate", "gradient_norm")
        self._write(step, dict(zip(names, (*losses, rate, norm), strict=True)))

    def validation(self, step: int, metrics: dict[str, Any]) -> None:
        """metrics: see `evaluate_network`."""
        scalars = {f"validation/{name}": metrics[name] for name in ("loss", "classification", "flow")}
        if "accuracy" in metrics:
            scalars |= {"validation/accuracy": metrics["accuracy"], "validation/mAP": metrics["map"]}
        else:
            scalars |= {f"validation/mAP@{iou}": value for iou, value in metrics["map"].items()}
            scalars |= {f"validation/AP@0.5/{label}": ap["0.5"] for label, ap in metrics["ap"].items()}
        self._write(step, scalars)
        if self.writer is not None:
            self.writer.flush()

    def _write(self, step: int, scalars: dict[str, float | None]) -> None:
        for name, value in scalars.items() if self.writer is not None else ():
            if value is not None:
                self.writer.add_scalar(name, value, step)
