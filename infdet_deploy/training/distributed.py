"""Data-parallel training under torchrun: every process a share of each batch, together the same as one process.

Each process holds the whole network and works on its share of a step's samples; gradients are summed over all before
the optimiser step, and batch norms take their statistics over the whole batch, so that losses do not depend on the
number of processes but for rounding.
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

from infdet_deploy.errors import TrainingError

_WAIT = timedelta(hours=12)  # others wait while one process prepares data or validates


@dataclass(frozen=True)
class World:
    """rank: this process's number. size: how many there are."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files, validates and talks."""
        return self.rank == 0

    def share(self, batch: int) -> range:
        """Which samples of a batch are this process's."""
        each = batch // self.size
        return range(self.rank * each, (self.rank + 1) * each)

    def check_batch(self, batch: int) -> None:
        """Raise TrainingError for a batch that the processes cannot share evenly."""
        if batch % self.size:
            raise TrainingError(f"a batch of {batch} cannot be shared by {self.size} processes")

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            dist.barrier()

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """The first process goes through the block before the others do: it fills the cache that they then find."""
        if not self.leads:
            self.wait()
        yield
        if self.leads:
            self.wait()

    def agree(self, value: Any) -> Any:
        """The first process's value, for all; any JSON-like object."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """Every process's value, in the order of their numbers; any JSON-like object."""
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


def asked_world() -> World:
    """The world that torchrun's environment describes; one process where there is none."""
    return World(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


@contextmanager
def joined(device: str) -> Iterator[World]:
    """Join the processes that torchrun started: over nccl on GPUs, gloo elsewhere.

    Raises TrainingError for a GPU that is not there, one GPU for several processes, and where another process is gone.
    """
    world = asked_world()
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise TrainingError(f"device is {device}, and PyTorch sees no GPU here; take device=cpu")
    if ":" in device and world.size > 1:
        raise TrainingError(f"device is {device} for {world.size} processes; take device=cuda, each has its own")
    if world.size == 1 or dist.is_initialized():
        yield world
        return
    if device.startswith("cuda"):
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))  # `cuda` is then this process's own GPU
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=_WAIT)
    try:
        yield world
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error).lower():
            raise TrainingError("another process of this training has ended; its own message says why") from None
        raise
    finally:
        dist.destroy_process_group()


class BatchNorm(nn.BatchNorm3d):
    """A batch norm whose statistics, while training, are those of the batches of all processes, of equal shapes."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        full = x.to(torch.promote_types(x.dtype, torch.float32))
        axes = (0, 2, 3, 4)
        count = full.numel() // full.shape[1] * dist.get_world_size()
        mean = _Sum.apply(full.sum(axes)) / count
        centred = full - mean[:, None, None, None]
        variance = _Sum.apply((centred * centred).sum(axes)) / count
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


class _Sum(torch.autograd.Function):
    """Sum over processes; every process's gradient counts for every process's input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].clone()
        dist.all_reduce(gradient)
        return gradient


def spread(network: nn.Module, world: World) -> None:
    """Make what a network computes of a sample independent of which process has it; names and values stay."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, SampleDropout(child.p))
            elif type(child) is nn.BatchNorm3d and world.size > 1:
                child.__class__ = BatchNorm  # keeps parameters and buffers, and their names


class SampleDropout(nn.Dropout):
    """Dropout [B, d] with a mask of each sample's own, so that it does not depend on who the sample is computed with.

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
    """Say which samples the network is given next."""
    for module in network.modules():
        if isinstance(module, SampleDropout):
            module.seeds = seeds
