"""A stage as TorchScript."""

import io
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn


def export_torchscript(stage: nn.Module, example: tuple[Tensor, ...], path: Path) -> None:
    """Trace `stage` on `example` and write it; T stays dynamic, as every shape in the stages is computed."""
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the tracer's deprecation notes; outputs are compared after every export
        traced = torch.jit.trace(stage, example, check_trace=False)  # type: ignore[no-untyped-call, unused-ignore]
        buffer = io.BytesIO()  # when the disk is full, torch's own writer raises an unclear error
        torch.jit.save(torch.jit.freeze(traced), buffer)
    path.write_bytes(buffer.getbuffer())
