"""Selective Cross-stream Attention: weigh two feature streams and let one attend to the other (paper III-B)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infdet_deploy.model.presets import ModelConfig


class Fusion(NamedTuple):
    """fused [B, T', d]; attention [B, T', T'], rows sum to 1; stream_weight [B] in (0, 1), infrared's share."""

    fused: Tensor
    attention: Tensor
    stream_weight: Tensor


class SelectiveCrossAttention(nn.Module):
    """Equations 2, 3 and 8 to 10 of the paper, with queries and values from the auxiliary stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.features
        self.conv1 = nn.Conv1d(2 * d, 4 * d, 3, padding=1)
        self.conv2 = nn.Conv1d(4 * d, 8 * d, 3, padding=1)
        self.fc1 = nn.Linear(8 * d, d)
        self.fc2 = nn.Linear(d, 1)
        self.dropout = nn.Dropout(0.7)
        self.query = nn.Conv1d(d, d // 8, 1)
        self.key = nn.Conv1d(d, d // 8, 1)
        self.value = nn.Conv1d(d, d, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def select(self, infrared: Tensor, flow: Tensor) -> Tensor:
        """Both [B, d, T'] → the infrared stream's weight [B], before its sigmoid."""
        x = F.relu(self.conv1(torch.cat((infrared, flow), dim=1)))
        x = self.conv2(x).amax(dim=2)
        return self.fc2(F.relu(self.dropout(self.fc1(x)))).squeeze(1)

    def forward(self, infrared: Tensor, flow: Tensor) -> Fusion:
        """Both features [B, T', d]."""
        infrared, flow = infrared.transpose(1, 2), flow.transpose(1, 2)
        weight = torch.sigmoid(self.select(infrared, flow))
        w = weight[:, None, None]
        main = w * infrared + (1 - w) * flow
        auxiliary = w * flow + (1 - w) * infrared
        energy = self.query(auxiliary).transpose(1, 2) @ self.key(main)
        attention = torch.softmax(energy, dim=2)
        attended = attention @ self.value(auxiliary).transpose(1, 2)
        return Fusion(self.gamma * attended + main.transpose(1, 2), attention, weight)
