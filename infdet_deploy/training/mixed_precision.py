"""Mixed precision: the FEN and towers compute in one dtype under autocast, everything after them in float32."""

import torch
from torch import Tensor

from infdet_deploy.model.network import InfDetNet, Streams, append_zero_flow
from infdet_deploy.model.precision import full
from infdet_deploy.training.options import TrainConfig


def precision(config: TrainConfig) -> torch.dtype:
    """The dtype of the convolutions; `auto` is bfloat16 where the processor multiplies it natively."""
    if config.precision == "auto":
        fast = torch.cuda.is_bf16_supported() if config.device.startswith("cuda") else _cpu_has_bfloat16()
        return torch.bfloat16 if fast else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[config.precision]


def _cpu_has_bfloat16() -> bool:
    # Without native bfloat16 the processor converts, which is slower than float32.
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(probe()) if probe is not None else False


def forward(
    network: InfDetNet, grey: Tensor, target: Tensor, length: Tensor, dtype: torch.dtype, teach: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Logits [B, T', C] and the FEN's flow [B, T, c, h, w] (None without FEN), both at least float32.

    grey: [B, T, S, S] in [−1, 1]. target: TV-L1 flow [B, T−1, c, h, w]; the flow tower sees it if the network has no
    FEN, or with `teach`. length: valid snippets [B]. dtype: of FEN and towers.
    """
    with torch.autocast(grey.device.type, dtype, enabled=dtype != torch.float32):
        flow = None if network.fen is None else network.estimate_flow(grey)
        seen = append_zero_flow(target) if flow is None or teach else flow
        streams = network.streams(grey, seen)
    streams = Streams(*(None if part is None else full(part) for part in streams))
    return network.head(streams, length).logits, None if flow is None else full(flow)
