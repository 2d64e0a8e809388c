"""Fusion of two feature streams: Selective Cross-stream Attention (paper III-B) and the alternatives of Table V."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infdet_deploy.model.precision import full
from infdet_deploy.model.presets import ModelConfig


class Fusion(NamedTuple):
    """fused [B, T', d], or [B, T', 2d] for `concat` and `late`; attention [B, T', T'], whose rows sum to 1;
    stream_weight [B] in (0, 1), the infrared stream's share. None if the fusion has no such value."""

    fused: Tensor
    attention: Tensor | None = None
    stream_weight: Tensor | None = None


class Attention(nn.Module):
    """One sequence of features attends to another over time (equations 4 to 10).

    The layers may be float16 or bfloat16: energies and softmax are float32 nevertheless.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.features
        self.query = nn.Conv1d(d, d // 8, 1)
        self.key = nn.Conv1d(d, d // 8, 1)
        self.value = nn.Conv1d(d, d, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def attend(self, main: Tensor, auxiliary: Tensor) -> tuple[Tensor, Tensor]:
        """Both [B, d, T']; queries and values come from `auxiliary` → features [B, T', d], attention [B, T', T']."""
        dtype = self.query.weight.dtype
        query, value = self.query(auxiliary.to(dtype)), self.value(auxiliary.to(dtype))
        energy = full(query).transpose(1, 2) @ full(self.key(main.to(dtype)))
        attention = torch.softmax(energy, dim=2)
        attended = attention.to(dtype) @ value.transpose(1, 2)
        return full(self.gamma) * full(attended) + main.transpose(1, 2), attention


class SelectiveCrossAttention(Attention):
    """A learned weight mixes the streams, then one mixture attends to the other (equations 2, 3 and 8 to 10)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        d, hidden = config.features, 4 * config.features // config.selection_divisor
        self.conv1 = nn.Conv1d(2 * d, hidden, 3, padding=1)
        self.conv2 = nn.Conv1d(hidden, 2 * hidden, 3, padding=1)
        self.fc1 = nn.Linear(2 * hidden, d)
        self.fc2 = nn.Linear(d, 1)
        self.dropout = nn.Dropout(0.7)

    def select(self, infrared: Tensor, flow: Tensor) -> Tensor:
        """Both [B, d, T'] → the infrared stream's weight [B], before its sigmoid."""
        x = F.relu(self.conv1(torch.cat((infrared, flow), dim=1).to(self.conv1.weight.dtype)))
        x = self.conv2(x).amax(dim=2)
        return full(self.fc2(F.relu(self.dropout(self.fc1(x)))).squeeze(1))

    def forward(self, infrared: Tensor, flow: Tensor) -> Fusion:
        """Both features [B, T', d]."""
        infrared, flow = infrared.transpose(1, 2), flow.transpose(1, 2)
        weight = torch.sigmoid(self.select(infrared, flow))
        w = weight[:, None, None]
        fused, attention = self.attend(w * infrared + (1 - w) * flow, w * flow + (1 - w) * infrared)
        return Fusion(fused, attention, weight)


class CrossAttention(Attention):
    """Attention without selection: infrared is the main stream, flow the auxiliary one."""

    def forward(self, infrared: Tensor, flow: Tensor) -> Fusion:
        """Both features [B, T', d]."""
        return Fusion(*self.attend(infrared.transpose(1, 2), flow.transpose(1, 2)))


class SelfAttention(nn.Module):
    """Every stream attends to itself; two streams are averaged."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.streams = nn.ModuleList(Attention(config) for _ in range(2 if config.streams == "both" else 1))

    def forward(self, *features: Tensor) -> Fusion:
        """Features [B, T', d] of one or two streams."""
        attended = []
        for stream, attention in zip(features, self.streams, strict=True):
            assert isinstance(attention, Attention)
            x = stream.transpose(1, 2)
            attended.append(attention.attend(x, x)[0])
        return Fusion(torch.stack(attended).mean(dim=0))


class FixedFusion(nn.Module):
    """Without parameters: the features of one stream, or the minimum, maximum or concatenation of two."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.kind = config.fusion

    def forward(self, *features: Tensor) -> Fusion:
        """Features [B, T', d] of one or two streams; [B, T', 2d] for `concat` and `late`."""
        if self.kind == "min":
            return Fusion(torch.minimum(*features))
        if self.kind == "max":
            return Fusion(torch.maximum(*features))
        return Fusion(torch.cat(features, dim=-1))


def build_fusion(config: ModelConfig) -> nn.Module:
    """The fusion module of a configuration."""
    kinds = {"sca": SelectiveCrossAttention, "cross": CrossAttention, "self": SelfAttention}
    return kinds.get(config.fusion, FixedFusion)(config)
