"""Snippet classifier: super-events over the clip and temporal Gaussian mixtures around each snippet (paper III-C)."""

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infdet_deploy.model.precision import full
from infdet_deploy.model.presets import ModelConfig

SUPER_EVENT_CENTRES = 3
MIXTURE_CENTRES = 16
MIXTURE_LENGTH = 5  # snippets
MIXTURE_CHANNELS = 8


class CauchyBank(nn.Module):
    """N normalised Cauchy curves over a window, with learned centres and widths."""

    def __init__(self, centres: int) -> None:
        super().__init__()
        self.center = nn.Parameter(0.5 * torch.randn(centres))
        self.gamma = nn.Parameter(0.5 * torch.randn(centres))

    def forward(self, time: Tensor, length: Tensor) -> Tensor:
        """time: positions [P]; length: snippets of the window [B] → filters [B, N, P], each with a sum of about 1."""
        centre = (length[:, None] - 1) * (torch.tanh(self.center) + 1) / 2
        width = torch.exp(1.5 - 2 * torch.tanh(self.gamma).abs())[:, None]
        offset = (time - centre[..., None]) / width
        curve = 1 / (torch.pi * width * (offset * offset + 1))
        return curve / (curve.sum(dim=-1, keepdim=True) + 1e-6)


class SuperEvent(nn.Module):
    """Context of the whole clip: two banks, weighted per class → evidence [B, C]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        classes = len(config.classes)
        self.bank1 = CauchyBank(SUPER_EVENT_CENTRES)
        self.bank2 = CauchyBank(SUPER_EVENT_CENTRES)
        self.class_weight = nn.Parameter(torch.randn(classes))
        self.matrix = nn.Parameter(torch.randn(classes, config.fused_features) * config.fused_features**-0.5)

    def forward(self, x: Tensor, length: Tensor) -> Tensor:
        """x: [B, T', d]; length: [B] valid snippets, of x's dtype."""
        time = torch.arange(x.shape[1], device=x.device).to(x.dtype)
        share = torch.sigmoid(self.class_weight)
        first = (self.bank1(time, length) @ x).amax(dim=1) @ self.matrix.T
        second = (self.bank2(time, length) @ x).amax(dim=1) @ self.matrix.T
        evidence: Tensor = share * first + (1 - share) * second
        return evidence


class TemporalGaussianMixture(nn.Module):
    """Filter every feature over time with kernels mixed from one bank: [N, inputs, T'] → [N, 8, T'].

    With `joined`, a learned 1×1 convolution sums the filtered inputs of each output, and ReLU follows. That convolution
    is folded into the kernels.
    """

    def __init__(self, inputs: int, joined: bool) -> None:
        super().__init__()
        self.bank = CauchyBank(MIXTURE_CENTRES)
        self.mixture = nn.Parameter(torch.randn(MIXTURE_CHANNELS * inputs, MIXTURE_CENTRES))
        self.join = nn.Linear(inputs, MIXTURE_CHANNELS) if joined else None

    def kernels(self) -> Tensor:
        """The convolution kernels [outputs, inputs, 5]."""
        window = torch.arange(MIXTURE_LENGTH, device=self.mixture.device).to(self.mixture.dtype)
        filters = self.bank(window, window.new_full((1,), MIXTURE_LENGTH))[0]
        kernels: Tensor = (torch.softmax(self.mixture, dim=1) @ filters).unflatten(0, (MIXTURE_CHANNELS, -1))
        return kernels if self.join is None else kernels * self.join.weight[..., None]

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.join is None else self.join.bias
        x = F.conv1d(x, self.kernels(), bias, padding=MIXTURE_LENGTH // 2)
        return x if self.join is None else F.relu(x)


class SnippetClassifier(nn.Module):
    """Fused features [B, T', d] → logits [B, T', C]. All layers but the super-event may be float16 or bfloat16."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.super_event = SuperEvent(config)
        self.sub_event1 = TemporalGaussianMixture(1, joined=False)
        self.sub_event2 = TemporalGaussianMixture(MIXTURE_CHANNELS, joined=True)
        self.sub_event3 = TemporalGaussianMixture(MIXTURE_CHANNELS, joined=True)
        self.hidden = nn.Linear(2 * config.fused_features + len(config.classes), config.channels(512))
        self.output = nn.Linear(config.channels(512), len(config.classes))

    def forward(self, x: Tensor, length: Tensor) -> Tensor:
        """x: [B, T', d]; length: [B], the clips' valid snippets ⌊T/8⌋."""
        low = x.to(self.hidden.weight.dtype)
        series = low.transpose(1, 2).flatten(0, 1)[:, None]  # each feature of each clip is one time series
        series = self.sub_event3(self.sub_event2(self.sub_event1(series)))
        sub = series.amax(dim=1).unflatten(0, (-1, x.shape[2])).transpose(1, 2)
        whole = self.super_event(x, length.to(x.dtype)).to(low.dtype)[:, None].expand(-1, x.shape[1], -1)
        joined = F.relu(torch.cat((low, sub, whole), dim=2))
        return full(self.output(F.relu(self.hidden(joined))))


class LateClassifier(nn.Module):
    """One classifier per stream; the score is the mean of their scores (late fusion, paper, Table V)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.infrared, self.flow = (SnippetClassifier(dataclasses.replace(config, fusion="min")) for _ in range(2))

    def forward(self, x: Tensor, length: Tensor) -> Tensor:
        """x: [B, T', 2d], both streams' features concatenated; length: [B] → logits of the mean score."""
        infrared, flow = x.chunk(2, dim=2)
        logits = torch.stack((self.infrared(infrared, length), self.flow(flow, length)))
        return torch.logsumexp(F.logsigmoid(logits), dim=0) - torch.logsumexp(F.logsigmoid(-logits), dim=0)
