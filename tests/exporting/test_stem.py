"""The exported first layer of the towers compared with the original one."""

import pytest

torch = pytest.importorskip("torch")
import torch.nn.functional as F

from infdet_deploy.exporting.stages.build import build_stage
from infdet_deploy.exporting.stages.stem import EnlargingStem, FlatStem
from infdet_deploy.exporting.stages.tower import fold
from infdet_deploy.model.enlargement import spans
from infdet_deploy.model.i3d import Unit3d
from infdet_deploy.model.network import enlarge_flow, to_grey

LENGTHS = (16, 20, 44)
PRECISIONS = [(torch.float64, 1e-12), (torch.float32, 1e-5)]


def unit(channels, dtype):
    """A stem with a random batch norm, in eval mode."""
    made, generator = Unit3d(channels, 5, 7, 2), torch.Generator().manual_seed(channels)
    made.bn.running_mean.normal_(generator=generator)
    made.bn.running_var.uniform_(0.5, 2, generator=generator)
    torch.nn.init.uniform_(made.bn.weight, 0.5, 2, generator=generator)
    torch.nn.init.normal_(made.bn.bias, generator=generator)
    return made.eval().requires_grad_(False).to(dtype)


def plain(stem, x):
    """The stem itself, on [T, C, S, S]."""
    return stem(x.transpose(0, 1)[None])[0].transpose(0, 1)


def relative(ours, reference):
    assert ours.shape == reference.shape
    return float((ours - reference).norm() / reference.norm())


@pytest.mark.parametrize(("dtype", "allowed"), PRECISIONS)
@pytest.mark.parametrize("channels", [2, 3])
def test_frames_as_channels(channels, dtype, allowed):
    stem = unit(channels, dtype)
    weight, bias = fold(stem)
    for frames in LENGTHS:
        x = torch.randn(frames, channels, 32, 32, dtype=dtype)
        assert relative(FlatStem(weight, bias)(x), plain(stem, x)) <= allowed


@pytest.mark.parametrize(("dtype", "allowed"), PRECISIONS)
def test_stem_on_bytes(dtype, allowed):
    stem = unit(3, dtype)
    weight, bias = fold(stem, grey=True)
    for frames in LENGTHS:
        x = torch.randint(0, 256, (frames, 32, 32), dtype=torch.uint8)
        expected = plain(stem, to_grey(x)[:, None].to(dtype).expand(-1, 3, -1, -1))
        # to_grey rounds to float32
        bound = max(allowed, 1e-6)
        assert relative(FlatStem.of_bytes(weight, bias)(x[:, None].to(dtype)), expected) <= bound


@pytest.mark.parametrize(("dtype", "allowed"), PRECISIONS)
@pytest.mark.parametrize("channels", [2, 3])
@pytest.mark.parametrize(("factor", "size"), [(4, 8), (4, 16), (4, 56), (2, 16), (2, 32)])
def test_enlargement_inside(factor, size, channels, dtype, allowed):
    stem = unit(channels, dtype)
    weight, bias = fold(stem)
    flow = torch.rand(16, channels, size, size, dtype=dtype) * 2 - 1
    ours = EnlargingStem(weight, bias, factor, size)(flow)
    assert relative(ours, plain(stem, enlarge_flow(flow, factor))) <= allowed
    # each border too, where zeros surround the enlarged flow
    expected = plain(stem, enlarge_flow(flow, factor))
    for edge in (0, 1, -2, -1):
        assert relative(ours[..., edge, :], expected[..., edge, :]) <= 2 * allowed
        assert relative(ours[..., edge], expected[..., edge]) <= 2 * allowed


def test_enlargement_multiplies_less():
    """The published size: 7·3·7·7 products for each of 112² outputs before, at most a third of that now."""
    ours = EnlargingStem(*fold(unit(3, torch.float32)), 4, 56)
    inner = max(ours.weights, key=lambda weight: weight[0].numel())
    assert tuple(inner.shape) == (4 * 5, 7 * 3, 4, 4)
    assert inner[0].numel() * 3 < 7 * 3 * 7 * 7


def test_spans_cover_a_line():
    for factor in (2, 4):
        lines = spans(32, factor)
        assert sum(span.last - span.first - span.taps.shape[-1] + 1 for span in lines) == 32
        # between the borders every tap reads the whole enlarged pixel; at a border some taps lie outside
        inner = max(lines, key=lambda span: span.last - span.first)
        assert torch.allclose(inner.taps.sum(-1), torch.ones(factor // 2, 7, dtype=torch.float64))
        assert float(lines[0].taps.sum(-1).min()) == 0


def test_fen_on_bytes(tiny_network):
    frames = torch.randint(0, 256, (9, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    stage = build_stage("fen", tiny_network, torch.float32)
    expected = tiny_network.estimate_flow(to_grey(frames)[None])[0, :-1]
    assert float((stage(frames) - expected).norm() / expected.norm()) <= 1e-5


def test_grey_levels_stay_exact_in_bfloat16():
    stem = FlatStem.of_bytes(torch.ones(1, 1, 7, 7, 7), torch.zeros(1)).to(torch.bfloat16)
    levels = torch.arange(256).to(torch.bfloat16)
    assert torch.equal(levels.float(), torch.arange(256).float())
    assert float(torch.tensor(stem.outside).to(torch.bfloat16)) == stem.outside == 127.5
    assert F.relu(stem(levels[:16, None, None, None].expand(-1, 1, 8, 8))).isfinite().all()
