"""The ranges of a stage's values, and where they are too large for float16."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from infdet_deploy.errors import ParityError
from infdet_deploy.exporting.stages.build import TOWER_STARTS
from infdet_deploy.model.i3d import ENDPOINTS, POOLS

FLOAT16_MAX = 65504.0
MARGIN = 4.0  # values of other clips may exceed the measured ones by this factor


def measure(stage: nn.Module, feeds: Iterable[tuple[Tensor, ...]]) -> dict[str, float]:
    """The largest absolute value among the weights and outputs of every module with weights in a float32 stage.

    Keys are module paths as in the exported graphs' node names (`Mixed_4c/b1b`), in the order of the data.
    """
    found: dict[str, float] = {}

    def watch(name: str, module: nn.Module) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            if isinstance(output, Tensor):  # a fusion's own output is float32 in every precision
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
    """The modules whose values may exceed float16, or are not finite."""
    return [name for name, value in ranges.items() if not value * MARGIN <= FLOAT16_MAX]


def first_endpoint(ranges: Mapping[str, float]) -> str | None:
    """The first endpoint from which a tower can be float16, or None.

    The layers that compute or read values that are too large must be float32.
    """
    weighted = [name for name in ENDPOINTS if name not in POOLS]
    last = max((weighted.index(name.split("/")[0]) for name in too_large(ranges)), default=None)
    if last is None:
        return ENDPOINTS[0]
    if last + 2 >= len(weighted):
        return None
    return ENDPOINTS[ENDPOINTS.index(weighted[last + 1]) + 1]


def float16_starts(stage: str, ranges: Mapping[str, float], tower: bool) -> list[str]:
    """The endpoints at which float16 may start, in the order to try; stages other than towers start at the first.

    Raises ParityError where float16 cannot represent the stage's values.
    """
    large = too_large(ranges)
    first = first_endpoint(ranges) if tower else None if large else ENDPOINTS[0]
    if first is None:
        worst = max(large, key=lambda name: ranges[name])
        raise ParityError(
            f"{stage} float16: {worst} has values up to {ranges[worst]:.3g}, above float16's {FLOAT16_MAX:.0f}; "
            "nothing was written; export without float16"
        )
    return starts_from(first) if tower else [first]


def starts_from(first: str) -> list[str]:
    """`first`, and the later endpoints at which a float16 tower may start."""
    return [first, *(start for start in TOWER_STARTS if ENDPOINTS.index(start) > ENDPOINTS.index(first))]


def first_within_tolerance(
    starts: Sequence[str],
    attempt: Callable[[str], dict[str, Any]],
    before: Callable[[str], dict[str, Any]] = lambda start: {},
) -> dict[str, Any]:
    """Write a stage that starts in its precision at the first of these endpoints where it is within tolerance.

    attempt: returns its entry in the manifest's parity, or raises ParityError. before: called first, for a part of the
    entry; an error that it raises ends the search.
    """
    for start in starts:
        entry = before(start)
        try:
            entry |= attempt(start)
        except ParityError:
            if start == starts[-1]:
                raise
        else:
            return entry | ({"float32_before": start} if start != ENDPOINTS[0] else {})
    raise AssertionError("no start")
