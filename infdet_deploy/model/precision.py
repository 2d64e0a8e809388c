"""Full precision after layers that compute in float16 or bfloat16."""

import torch
from torch import Tensor


def full(x: Tensor) -> Tensor:
    """x in float32, or in float64 if it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
