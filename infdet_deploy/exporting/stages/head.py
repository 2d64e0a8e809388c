"""The deployable head: features of one or two streams → scores, with the dtypes described in `stages`."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infdet_deploy.model.classifier import MIXTURE_LENGTH, LateClassifier, TemporalGaussianMixture
from infdet_deploy.model.network import InfDetNet


class _Mixture(nn.Module):
    """A temporal Gaussian mixture whose kernels are constants of the graph, since they do not depend on the clip."""

    def __init__(self, mixture: TemporalGaussianMixture, dtype: torch.dtype) -> None:
        super().__init__()
        self.kernels = nn.Parameter(mixture.kernels().to(dtype))
        self.bias = None if mixture.join is None else nn.Parameter(mixture.join.bias.to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv1d(x, self.kernels, self.bias, padding=MIXTURE_LENGTH // 2)
        return x if self.bias is None else F.relu(x)


class HeadStage(nn.Module):
    """infrared_features, flow_features float32 [T', d], length int64 [1] = ⌊T/8⌋ → scores float32 [T', C] in (0, 1)."""

    def __init__(self, network: InfDetNet, dtype: torch.dtype) -> None:
        super().__init__()
        self.fusion = copy.deepcopy(network.fusion).to(dtype)
        classifier = copy.deepcopy(network.classifier)
        parts = (classifier.infrared, classifier.flow) if isinstance(classifier, LateClassifier) else (classifier,)
        self.classifiers = nn.ModuleList(parts)
        for part in parts:
            part.hidden.to(dtype)
            part.output.to(dtype)
            for name in ("sub_event1", "sub_event2", "sub_event3"):
                part.add_module(name, _Mixture(getattr(part, name), dtype))

    def score(self, features: tuple[Tensor, ...], length: Tensor) -> Tensor:
        """Scores from the features of one or two streams."""
        fused = self.fusion(*(part[None] for part in features)).fused
        parts = fused.chunk(len(self.classifiers), dim=2)
        scores = [torch.sigmoid(one(part, length)[0]) for one, part in zip(self.classifiers, parts, strict=True)]
        return sum(scores[1:], scores[0]) / len(scores) if len(scores) > 1 else scores[0]

    def forward(self, infrared_features: Tensor, flow_features: Tensor, length: Tensor) -> Tensor:
        return self.score((infrared_features, flow_features), length)


class SingleHeadStage(HeadStage):
    """The head of a network with one stream: features float32 [T', d], length int64 [1] → scores float32 [T', C]."""

    def forward(self, features: Tensor, length: Tensor) -> Tensor:  # type: ignore[override]
        return self.score((features,), length)
