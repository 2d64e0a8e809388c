"""The contenders of a bundle, and the network's tensors to compare them with."""

import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING

from infdet_deploy.bundle.golden import Tensors, load_golden, stage_tensors
from infdet_deploy.bundle.loading import WEIGHTS, Bundle
from infdet_deploy.bundle.tolerances import CHECK_FRAMES
from infdet_deploy.errors import BundleError, missing_package
from infdet_deploy.runtime.backends.contender import Contender
from infdet_deploy.runtime.backends.registry import available_backends

if TYPE_CHECKING:
    from infdet_deploy.model.network import InfDetNet


def contenders_of(bundle: Bundle) -> tuple[list[Contender], list[Contender]]:
    """Every installed backend in every precision that it supports and the bundle contains.

    Returns the contenders that run here, and the contenders left out: without an engine for this device, or with wrong
    results on this processor.
    """
    found: list[Contender] = []
    left_out: list[Contender] = []
    for backend in available_backends():
        format = backend.capabilities.format
        for precision in filter(backend.capabilities.precisions.__contains__, bundle.precisions_as(format)):
            files = (bundle.stage_file(stage, precision, format) for stage in bundle.stages)
            runs = backend.supports(precision) and all(backend.is_ready(file, precision) for file in files)
            (found if runs else left_out).append(Contender(backend.name, precision))
    return found, left_out


def load_reference(bundle: Bundle) -> "InfDetNet":
    """The eager network that a bundle was exported from.

    Raises BundleError for a bundle without weights, InfdetError if torch or safetensors are not installed.
    """
    for package in ("torch", "safetensors"):
        if importlib.util.find_spec(package) is None:
            raise missing_package(package, "export", "verify (without --self-test)")
    if not (bundle.path / WEIGHTS).is_file():
        raise BundleError(
            f"{bundle.path} has no {WEIGHTS} to build the network from; export it with weights, or use --self-test"
        )
    from infdet_deploy.model.weights import load_network

    return load_network(bundle.path / WEIGHTS)[0]


def sample_references(network: "InfDetNet", frames: Sequence[int] = CHECK_FRAMES) -> list[Tensors]:
    """The eager network's tensors, by stage, for generated clips of these lengths."""
    from infdet_deploy.exporting.tensors import eager_tensors
    from infdet_deploy.video.sample import sample_frames

    clips = [sample_frames(t, network.config.size, seed=t) for t in frames]
    return [eager_tensors(network, clip) for clip in clips]


def golden_references(bundle: Bundle) -> list[Tensors]:
    """The tensors of the golden clip. Raises BundleError for a bundle without one."""
    return [stage_tensors(load_golden(bundle))]
