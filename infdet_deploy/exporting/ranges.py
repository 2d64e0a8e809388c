"""How large a stage's values become, and where that forbids float16."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from infdet_deploy.model.i3d import ENDPOINTS, POOLS

FLOAT16_MAX = 65504.0
MARGIN = 4.0  # other clips than the measured ones may give larger values, by so much


def measure(stage: nn.Module, feeds: Iterable[tuple[Tensor, ...]]) -> dict[str, float]:
    """The largest absolute value of every module of a float32 stage that holds weights: of these and of its outputs.

    Keys are module paths as in the exported graphs' node names (`Mixed_4c/b1b`), in the order in which data passes.
    """
    found: dict[str, float] = {}

    def watch(name: str, module: nn.Module) -> Any:
        def hook(_: nn.Module, __: Any, output: Tensor) -> None:
            largest = float(output.abs().max())
            found[name] = max(found[name], largest if math.isfinite(largest) else math.inf)

        found[name] = max(float(weight.abs().max()) for weight in module.parameters(recurse=False))
        return module.register_forward_hook(hook)

    hooks = [
        watch("/".join(part for part in path.split(".") if part != "tower"), module)
        for path, module in stage.named_modules()
        if next(module.parameters(recurse=False), None) is not None
    ]
    try:
        with torch.inference_mode():
            for feed in feeds:
                stage(*feed)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def too_large(ranges: Mapping[str, float]) -> list[str]:
    """The modules whose values float16 may not hold; one whose range is not a number is among them."""
    return [name for name, value in ranges.items() if not value * MARGIN <= FLOAT16_MAX]


def first_endpoint(ranges: Mapping[str, float]) -> str | None:
    """The first endpoint from which a tower may be float16; None where there is none.

    What takes values that are too large must be float32 as well as what gives them.
    """
    weighted = [name for name in ENDPOINTS if name not in POOLS]
    last = max((weighted.index(name.split("/")[0]) for name in too_large(ranges)), default=None)
    if last is None:
        return ENDPOINTS[0]
    if last + 2 >= len(weighted):
        return None
    return ENDPOINTS[ENDPOINTS.index(weighted[last + 1]) + 1]
