"""What each of export's exact rewrites gives: a stage as exported beside the same stage with one of them undone."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infdet_deploy.benchmarks.latency import scratch
from infdet_deploy.benchmarks.statistics import median_interval
from infdet_deploy.bundle.tolerances import compare
from infdet_deploy.processes import in_processes
from infdet_deploy.runtime.backends.registry import open_stage
from infdet_deploy.video.sample import sample_frames

BACKEND = "openvino"
PRECISIONS = ("float32", "bfloat16")  # that a stage is exported in from the network itself
WARM_UP_RUNS = 1


@dataclass(frozen=True)
class _Variant:
    """rewrite: the one that is undone, empty for the stage as it is exported. multiply_adds: for the clip measured."""

    rewrite: str
    path: Path
    multiply_adds: int


@dataclass(frozen=True)
class _Stage:
    """A stage's variants, the exported one first."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    variants: tuple[_Variant, ...]


def measure_rewrites(
    weights: Path | None,
    preset: str | None,
    precisions: Sequence[str],
    frames: int,
    runs: int,
    on_round: Callable[[int, int, str], None] | None = None,
) -> list[dict[str, Any]]:
    """A row for every rewrite and precision, from `runs` rounds in which each variant of a stage runs once.

    weights: of the network; preset: whose seeded random weights are taken where that is None. docs/bench.md describes a
    row.
    """
    rows, done = [], 0
    frames = frames // 4 * 4
    with scratch() as name:
        for precision in precisions:
            folder = Path(name) / precision
            folder.mkdir()
            # In a process of its own, which takes torch and its memory with it.
            ((_, (size, stages)),) = in_processes(_export, [(weights, preset, precision, frames, folder)], 1)
            clip = sample_frames(frames + 1, size)
            feeds = {"fen": clip, "infrared_tower": clip[:-1]}
            for stage in stages:
                found, total = _Rounds(len(stage.variants)), len(precisions) * len(stages) * (WARM_UP_RUNS + runs)
                for _ in found.run(stage, precision, feeds[stage.name], runs):
                    done += 1
                    if on_round:
                        on_round(done, total, f"rewrites of {stage.name}")
                rows += [_row(stage, precision, found, index) for index in range(1, len(stage.variants))]
                if stage.name == "fen":
                    feeds["flow_tower"] = found.outputs[0]
    return rows


class _Rounds:
    """seconds, cpu_s: by variant, of every round, by the clock and of all threads' work; outputs: by variant."""

    def __init__(self, variants: int) -> None:
        self.seconds: list[list[float]] = [[] for _ in range(variants)]
        self.cpu_s: list[list[float]] = [[] for _ in range(variants)]
        self.outputs: list[np.ndarray] = []

    def run(self, stage: _Stage, precision: str, feed: np.ndarray, runs: int) -> Iterator[None]:
        """Run all variants in turn, in this order and in the opposite one; yields after every round."""
        with ExitStack() as files:
            opened = [
                files.enter_context(closing(open_stage(BACKEND, v.path, precision, stage.inputs, stage.outputs)))
                for v in stage.variants
            ]
            feeds = {stage.inputs[0]: feed}
            for one in opened:  # the warm-up
                self.outputs.append(one.run(feeds)[stage.outputs[0]].copy())
            yield
            order = list(range(len(opened)))
            for _ in range(runs):
                for index in order:
                    start, worked = time.perf_counter(), time.process_time()
                    opened[index].run(feeds)
                    self.seconds[index].append(time.perf_counter() - start)
                    self.cpu_s[index].append(time.process_time() - worked)
                order.reverse()
                yield


def _row(stage: _Stage, precision: str, rounds: _Rounds, index: int) -> dict[str, Any]:
    exported, undone = np.array(rounds.seconds[0]), np.array(rounds.seconds[index])
    ratios = undone / exported  # of one round each, so that what slows the machine for a while slows both
    low, high, coverage = median_interval(ratios.tolist())
    return {
        "rewrite": stage.variants[index].rewrite,
        "stage": stage.name,
        "precision": precision,
        "exported_ms": float(np.median(exported) * 1000),
        "undone_ms": float(np.median(undone) * 1000),
        "ratio": float(np.median(ratios)),
        "low": low,
        "high": high,
        "coverage": coverage,
        "cpu_ratio": float(np.median(np.array(rounds.cpu_s[index]) / np.array(rounds.cpu_s[0]))),
        "relative_l2": compare(rounds.outputs[index], rounds.outputs[0]).relative_l2,
        "multiply_adds": stage.variants[0].multiply_adds,
        "multiply_adds_undone": stage.variants[index].multiply_adds,
    }


def _export(
    weights: Path | None, preset: str | None, precision: str, frames: int, folder: Path
) -> tuple[int, list[_Stage]]:
    """Write the variants of every stage that has rewrites; the size of the network's frames, and the stages."""
    import torch

    from infdet_deploy.benchmarks.eager import reference_network
    from infdet_deploy.benchmarks.without_rewrites import REWRITES, undone
    from infdet_deploy.exporting.flops import multiply_adds
    from infdet_deploy.exporting.onnx import export_onnx
    from infdet_deploy.exporting.specs import stage_specs
    from infdet_deploy.exporting.stages import build_stage

    network, dtype = reference_network(weights, preset), getattr(torch, precision)
    specs, lengths = stage_specs(network), {"T": 16, "T+1": 17}  # the shortest clip will do as an example
    stages = []
    for name, spec in specs.items():
        rewrites = [rewrite for rewrite in REWRITES if rewrite.stage == name]
        if not rewrites:
            continue
        modules = {"": build_stage(name, network, dtype)} | {r.name: undone(r, network, dtype) for r in rewrites}
        shape = [size if isinstance(size, int) else lengths[size] for size in spec.inputs[0].shape]
        example = (torch.zeros(shape, dtype=getattr(torch, spec.inputs[0].dtype)),)
        variants = []
        for number, (rewrite, module) in enumerate(modules.items()):
            path = folder / f"{name}.{number}.onnx"
            export_onnx(name, module, spec, example, path)
            variants.append(_Variant(rewrite, path, multiply_adds(path, spec, frames)))
        inputs, outputs = (tuple(tensor.name for tensor in end) for end in (spec.inputs, spec.outputs))
        stages.append(_Stage(name, inputs, outputs, tuple(variants)))
    return network.config.size, stages
