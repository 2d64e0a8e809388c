"""Training steps for test_distributed, started by `python` or torchrun.

Usage: distributed_run.py DATA OUT windows|whole. The first process prints the losses as JSON. Windows are trained in
float64 and for three steps only: Adam divides by gradients that are almost zero, so that rounding grows a
thousandfold a step.
"""

import json
import sys
from pathlib import Path

import torch

from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.model.weights import random_network
from infdet_deploy.training import loop
from infdet_deploy.training.distributed import launched_world
from infdet_deploy.training.options import TrainConfig
from infdet_deploy.training.windows import Batch, Windows

STEPS = {"windows": 3, "whole": 6}
MODEL = ModelConfig(size=64, channel_divisor=8)


class Enough(Exception):
    pass


def doubled(windows: Windows, step: int, plain=Windows.batch) -> Batch:
    batch = plain(windows, step)
    return batch._replace(**{name: getattr(batch, name).double() for name in ("grey", "target", "labels")})


def main(data: str, out: str, mode: str) -> None:
    torch.set_num_threads(1)
    losses = []

    def seen(progress: loop.Progress) -> None:
        if progress.phase == "train":
            losses.append([progress.loss, progress.classification, progress.flow])

    initial = random_network(MODEL, seed=0)
    chunks = 0
    if mode == "windows":
        initial = initial.double()
        Windows.batch = doubled
    else:
        chunks = 4
    config = TrainConfig(
        steps=200, batch=2, window_frames=16, validate_every=200, save_every=200, precision="float32",
        chunk_snippets=chunks,
    )  # fmt: skip
    loop.is_over = lambda config, values: values["step"] >= STEPS[mode]
    loop._Run._finish = lambda run, state: None
    loop.run_training(Path(data), Path(out), MODEL, config, on_progress=seen, initial=initial)
    if launched_world().is_main:
        print(json.dumps(losses))


if __name__ == "__main__":
    main(*sys.argv[1:])
