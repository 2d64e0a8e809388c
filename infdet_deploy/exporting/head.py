"""The deployable head: features of one or two streams → scores, with the dtypes described in `stages`."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infdet_deploy.model.classifier import LateClassifier, SnippetClassifier
from infdet_deploy.model.fusion import (
    Attention,
    CrossAttention,
    FixedFusion,
    SelectiveCrossAttention,
    SelfAttention,
    combine,
)
from infdet_deploy.model.network import InfDetNet


class HeadStage(nn.Module):
    """infrared_features, flow_features float32 [T', d], length int64 [1] = ⌊T/8⌋ → scores float32 [T', C] in (0, 1)."""

    def __init__(self, network: InfDetNet, dtype: torch.dtype) -> None:
        super().__init__()
        self.fusion = copy.deepcopy(network.fusion).to(dtype)
        classifier = copy.deepcopy(network.classifier)
        parts: tuple[nn.Module, ...] = (
            (classifier.infrared, classifier.flow) if isinstance(classifier, LateClassifier) else (classifier,)
        )
        self.classifiers = nn.ModuleList(_Classifier(part, dtype) for part in parts)
        self.dtype = dtype

    def _attend(self, attention: Attention, main: Tensor, auxiliary: Tensor) -> Tensor:
        """[1, d, T'] float32 → [1, T', d] float32, energies and softmax in float32."""
        dtype = self.dtype
        query, value = attention.query(auxiliary.to(dtype)), attention.value(auxiliary.to(dtype))
        energy = query.float().transpose(1, 2) @ attention.key(main.to(dtype)).float()
        attended = torch.softmax(energy, dim=2).to(dtype) @ value.transpose(1, 2)
        fused: Tensor = attention.gamma.float() * attended.float() + main.transpose(1, 2)
        return fused

    def fuse(self, features: tuple[Tensor, ...]) -> Tensor:
        """Each [T', d] float32 → [1, T', d or 2d] float32."""
        fusion = self.fusion
        if isinstance(fusion, FixedFusion):
            return combine(fusion.kind, features)[None]
        streams = [part.T[None] for part in features]
        if isinstance(fusion, SelfAttention):
            found = [self._attend(one, x, x) for one, x in zip(fusion.streams, streams, strict=True)]  # type: ignore[arg-type]
            return sum(found[1:], found[0]) / len(found)
        infrared, flow = streams
        if isinstance(fusion, SelectiveCrossAttention):
            w = torch.sigmoid(fusion.select(infrared.to(self.dtype), flow.to(self.dtype)).float())[:, None, None]
            infrared, flow = w * infrared + (1 - w) * flow, w * flow + (1 - w) * infrared
        assert isinstance(fusion, SelectiveCrossAttention | CrossAttention)
        return self._attend(fusion, infrared, flow)

    def score(self, features: tuple[Tensor, ...], length: Tensor) -> Tensor:
        """Scores from the features of one or two streams."""
        fused = self.fuse(features)
        parts = fused.chunk(len(self.classifiers), dim=2)
        scores = [torch.sigmoid(one(part, length)) for one, part in zip(self.classifiers, parts, strict=True)]
        return sum(scores[1:], scores[0]) / len(scores) if len(scores) > 1 else scores[0]

    def forward(self, infrared_features: Tensor, flow_features: Tensor, length: Tensor) -> Tensor:
        return self.score((infrared_features, flow_features), length)


class SingleHeadStage(HeadStage):
    """The head of a network with one stream: features float32 [T', d], length int64 [1] → scores float32 [T', C]."""

    def forward(self, features: Tensor, length: Tensor) -> Tensor:  # type: ignore[override]
        return self.score((features,), length)


class _Classifier(nn.Module):
    """Fused features float32 [1, T', d], length → logits float32 [T', C]."""

    def __init__(self, classifier: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        assert isinstance(classifier, SnippetClassifier)
        self.super_event = classifier.super_event
        self.hidden = classifier.hidden.to(dtype)
        self.output = classifier.output.to(dtype)
        # the mixtures' kernels do not depend on the clip, so they are constants of the graph
        layers = (classifier.sub_event1, classifier.sub_event2, classifier.sub_event3)
        self.kernels1, self.kernels2, self.kernels3 = (nn.Parameter(k.kernels().to(dtype)) for k in layers)
        self.bias2, self.bias3 = (nn.Parameter(k.join.bias.to(dtype)) for k in layers[1:] if k.join is not None)
        self.dtype = dtype

    def forward(self, fused: Tensor, length: Tensor) -> Tensor:
        series = fused[0].T[:, None].to(self.dtype)
        series = F.conv1d(series, self.kernels1, padding=2)
        series = F.relu(F.conv1d(series, self.kernels2, self.bias2, padding=2))
        series = F.relu(F.conv1d(series, self.kernels3, self.bias3, padding=2))
        sub = series.amax(dim=1).T
        whole = self.super_event(fused, length.float()).to(self.dtype).expand(sub.shape[0], -1)
        joined = F.relu(torch.cat((fused[0].to(self.dtype), sub, whole), dim=1))
        logits: Tensor = self.output(F.relu(self.hidden(joined)))
        return logits.float()
