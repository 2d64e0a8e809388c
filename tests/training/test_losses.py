"""The losses against numbers worked out by hand."""

import math

import pytest
import torch

from infdet_deploy.training.losses import classification_loss, flow_loss, losses


def test_classification_sums_over_classes_and_divides_by_the_valid_length():
    logits = torch.zeros(1, 3, 2)
    labels = torch.ones(1, 3, 2)
    # 3 snippets × 2 classes × ln 2, over a valid length of 4
    found = classification_loss(logits, labels, torch.tensor([4]))
    assert found.tolist() == pytest.approx([6 * math.log(2) / 4])


def test_classification_ignores_snippets_beyond_the_valid_length():
    logits = torch.tensor([[[2.0], [-1.0], [50.0]], [[2.0], [-1.0], [50.0]]])
    labels = torch.tensor([[[1.0], [0.0], [0.0]]]).expand(2, -1, -1)
    two = math.log1p(math.exp(-2)) + math.log1p(math.exp(-1))
    found = classification_loss(logits, labels, torch.tensor([2, 3]))
    assert found.tolist() == pytest.approx([two / 2, (two + 50) / 3])


def test_flow_sums_over_pairs():
    target = torch.full((2, 7, 3, 4, 4), 0.25)
    flow = torch.cat([torch.full((2, 7, 3, 4, 4), 0.75), torch.full((2, 1, 3, 4, 4), 9.0)], dim=1)
    # 7 pairs of mean distance 0.5 over the valid length; the last frame's flow has no target
    assert flow_loss(flow, target, torch.tensor([1, 2])).tolist() == pytest.approx([3.5, 1.75])
    assert flow_loss(flow, target, torch.tensor([1, 1]), torch.tensor([3, 7])).tolist() == pytest.approx([1.5, 3.5])


def test_total():
    found = losses(
        torch.zeros(1, 1, 1),
        torch.zeros(1, 1, 1),
        torch.zeros(1, 16, 2, 2, 2),
        torch.full((1, 15, 2, 2, 2), -0.1),
        torch.tensor([2]),
    )
    assert found.classification.item() == pytest.approx(math.log(2) / 2)
    assert found.flow.item() == pytest.approx(0.75)
    assert found.total.item() == pytest.approx(math.log(2) / 2 + 0.7 * 0.75)
