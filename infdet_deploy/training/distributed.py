"""Data-parallel training under torchrun: each process computes its share of every batch.

Gradients are summed before the optimiser step, batch norms use the statistics of the whole batch, and dropout depends
on the sample alone, so the losses do not depend on the number of processes except for rounding.

PyTorch's DDP and SyncBatchNorm are not used: SyncBatchNorm refuses CPU tensors, and DDP reduces after each backward
pass, of which a step on whole clips makes many. Summing the gradients once per step is less code.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from infdet_deploy.errors import TrainingError
from infdet_deploy.model.precision import full

_TIMEOUT = timedelta(hours=12)  # the others wait while one process prepares data or validates


@dataclass(frozen=True)
class World:
    """The processes of a training. rank: this process's number. size: their count."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files, validates and reports."""
        return self.rank == 0

    def share(self, batch: int) -> range:
        """The samples of a batch that this process computes."""
        each = batch // self.size
        return range(self.rank * each, (self.rank + 1) * each)

    def check_batch(self, batch: int) -> None:
        """Raise TrainingError for a batch that the processes cannot share evenly."""
        if batch % self.size:
            raise TrainingError(f"a batch of {batch} cannot be shared by {self.size} processes")

    def wait(self) -> None:
        """Wait until all processes call this."""
        if self.size > 1:
            dist.barrier()

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Run the block in the main process first, which fills the cache, then in the others, which read it."""
        if not self.is_main:
            self.wait()
        yield
        if self.is_main:
            self.wait()

    def broadcast(self, value: Any) -> Any:
        """The main process's value, for all processes; any object that can be pickled."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, in the order of their ranks."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def sum(self, tensors: list[Tensor]) -> None:
        """Sum tensors of one dtype over all processes, in place."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        parts = flat.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))


def launched_world() -> World:
    """The world of torchrun's environment variables; one process without them."""
    return World(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


@contextmanager
def process_group(device: str) -> Iterator[World]:
    """Connect the processes that torchrun started: nccl on GPUs, gloo elsewhere.

    Raises TrainingError for a missing GPU, one GPU for several processes, and when another process has ended.
    """
    world = launched_world()
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise TrainingError(f"device is {device}, but PyTorch finds no GPU here; use device=cpu")
    if ":" in device and world.size > 1:
        raise TrainingError(f"device is {device} for {world.size} processes; use device=cuda, each gets its own")
    if world.size == 1 or dist.is_initialized():
        yield world
        return
    if device.startswith("cuda"):
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))  # `cuda` now means this process's own GPU
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=_TIMEOUT)
    try:
        yield world
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error).lower():
            raise TrainingError("another process of this training has ended; see its own message") from None
        raise
    finally:
        dist.destroy_process_group()


def make_distributed(network: nn.Module, world: World) -> None:
    """Make a sample's result independent of the process that computes it. Parameter names and values do not change."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, SampleDropout(child.p))
            elif type(child) is nn.BatchNorm3d and world.size > 1:
                setattr(module, name, GlobalBatchNorm(child))


class GlobalBatchNorm(nn.BatchNorm3d):
    """A batch norm with the training statistics of the batches of all processes, which must have equal shapes."""

    def __init__(self, norm: nn.BatchNorm3d) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        wide = full(x)
        axes = (0, 2, 3, 4)
        count = wide.numel() // wide.shape[1] * dist.get_world_size()
        mean: Tensor = all_reduce(wide.sum(axes)) / count  # gradients are summed in the same way
        centred = wide - mean[:, None, None, None]
        variance: Tensor = all_reduce((centred * centred).sum(axes)) / count
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
            weight = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, weight)
            self.running_var.lerp_(variance * count / (count - 1), weight)
        y = centred * torch.rsqrt(variance + self.eps)[:, None, None, None]
        return (y * self.weight[:, None, None, None] + self.bias[:, None, None, None]).to(x.dtype)


class SampleDropout(nn.Dropout):
    """Dropout [B, d] with a mask seeded by each sample, independent of the other samples of the batch.

    seeds: of the samples of the next call.
    """

    seeds: tuple[int, ...] = ()

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        masks = [torch.rand(x.shape[1:], generator=torch.Generator().manual_seed(seed)) for seed in self.seeds]
        keep = (torch.stack(masks) >= self.p).to(x.device, x.dtype)
        return x * keep / (1 - self.p)


def seed_dropout(network: nn.Module, seeds: tuple[int, ...]) -> None:
    """Set the seeds of the samples that the network computes next."""
    for module in network.modules():
        if isinstance(module, SampleDropout):
            module.seeds = seeds
