"""Foreign weights: conversion, refused files, and that nothing in a file is executed."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from safetensors.torch import load_file, save_file

from infdet_deploy.errors import InfdetError, WeightsError
from infdet_deploy.model.foreign_weights import import_upstream, load_kinetics
from infdet_deploy.model.presets import preset
from infdet_deploy.model.weights import (
    load_network,
    random_network,
    read_state_dict,
    save_network,
    with_config,
)
from tests.paths import DATA
from tests.reference import reference_tensor

SHAPES = DATA / "upstream_state_dict.json"


def entry(name: str, shape: tuple[int, ...]):
    return torch.from_numpy(np.asarray(reference_tensor(name, shape)))


@pytest.fixture(scope="module")
def upstream():
    """The published names and shapes. Tensors larger than a million numbers are zeros, which is quick."""
    shapes = {name: tuple(shape) for name, shape in json.loads(SHAPES.read_text()).items()}
    return {n: entry(n, s) if np.prod(s) < 1e6 else torch.zeros(s) for n, s in shapes.items()}


@pytest.mark.parametrize("name", ["detector.classify.weight", "flow_est.flow_pred.weight", "cmam.fc1.bias"])
def test_missing_entry_is_named(upstream, name):
    with pytest.raises(WeightsError, match="missing") as caught:
        import_upstream({n: t for n, t in upstream.items() if n != name})
    assert name in str(caught.value) or name.replace("cmam", "fusion") in str(caught.value)


def test_wrong_shape_is_named(upstream):
    name = "inf_feat_net.Mixed_4c.b1b.conv3d.weight"
    with pytest.raises(WeightsError, match="expected") as caught:
        import_upstream(upstream | {name: torch.zeros(3, 3)})
    assert name in str(caught.value)
    assert "[3, 3]" in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["detector.classify.weight", "flow_est.flow_pred.weight", "cmam.fc1.bias", "detector.sub_event2.convs.3.bias"],
)
@pytest.mark.parametrize("value", [torch.tensor(1.0), torch.zeros(0)])
def test_scalars_and_empty_tensors_are_named(upstream, name, value):
    name = next(n for n in upstream if n.startswith(name.removesuffix(".bias")) and n.endswith(name.split(".")[-1]))
    if name.endswith("convs.3.bias") and value.ndim == 0:  # as many numbers as wanted
        import_upstream(upstream | {name: value})
        return
    with pytest.raises(WeightsError, match="expected") as caught:
        import_upstream(upstream | {name: value})
    assert name in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_missing_convolution_of_a_mixture_is_refused(upstream):
    name = next(n for n in upstream if n.startswith("detector.sub_event2.convs.3.") and n.endswith("weight"))
    with pytest.raises(WeightsError, match="sub_event2"):
        import_upstream({n: t for n, t in upstream.items() if n != name})


def test_class_names_must_fit(upstream):
    with pytest.raises(WeightsError, match=r"2 classes given \(a, b\), the weights have 3"):
        import_upstream(upstream, ("a", "b"))
    assert import_upstream(upstream, ("a", "b", "c"))[0].config.classes == ("a", "b", "c")


def test_data_parallel_prefix(upstream):
    plain, (prefixed, report) = (
        import_upstream(upstream)[0],
        import_upstream({f"module.{n}": t for n, t in upstream.items()}),
    )
    assert all(torch.equal(t, prefixed.state_dict()[n]) for n, t in plain.state_dict().items())
    assert not any(n.startswith("module.") for n in report.unused)
    assert report.loaded + len(report.unused) == len(upstream)


def test_a_filter_under_its_first_name_only(upstream):
    first = {n: t for n, t in upstream.items() if ".super_event." not in n and ".super_event2." not in n}
    assert len(first) < len(upstream)
    ours, both = import_upstream(first)[0].state_dict(), import_upstream(upstream)[0].state_dict()
    for name in ("classifier.super_event.bank1.center", "classifier.super_event.bank2.gamma"):
        assert torch.equal(ours[name], both[name])


def test_two_flow_channels_twelve_classes_and_projection(upstream):
    state = dict(upstream)
    hidden = 2 * 1024 + 12
    shapes = {
        "flow_est.flow_pred.weight": (2, *upstream["flow_est.flow_pred.weight"].shape[1:]),
        "flow_est.flow_pred.bias": (2,),
        "flow_feat_net.Conv3d_1a_7x7.conv3d.weight": (64, 2, 7, 7, 7),
        "flow_est.encoder.layer4.0.downsample.0.weight": (256, 256, 1, 1),
        "detector.cls_wts": (12,),
        "detector.sup_mat": tuple(12 if n == 3 else n for n in upstream["detector.sup_mat"].shape),
        "detector.h.weight": (512, hidden, *upstream["detector.h.weight"].shape[2:]),
        "detector.classify.weight": (12, *upstream["detector.classify.weight"].shape[1:]),
        "detector.classify.bias": (12,),
    }
    state |= {name: entry(name, shape) for name, shape in shapes.items()}
    network = import_upstream(state)[0]
    assert network.config.flow_channels == 2
    assert network.config.fen_projection
    assert network.config.classes == tuple(f"class{i}" for i in range(12))
    assert torch.equal(network.state_dict()["fen.flow_pred.weight"], state["flow_est.flow_pred.weight"])
    assert sum(p.numel() for p in network.fen.parameters()) == 3_410_627 - 33


@pytest.mark.parametrize("channels", [3, 2])
def test_kinetics_tower(channels):
    config = dataclasses.replace(preset("tiny"), flow_channels=channels)
    source, target = random_network(config, seed=1).flow_tower, random_network(config, seed=2).flow_tower
    state = {f"module.{n}": t for n, t in source.state_dict().items()}
    state |= {"logits.conv3d.weight": torch.zeros(400, 256, 1, 1, 1), "logits.conv3d.bias": torch.zeros(400)}
    report = load_kinetics(target, state)
    assert report.unused == ("logits.conv3d.bias", "logits.conv3d.weight")
    assert all(torch.equal(t, target.state_dict()[n]) for n, t in source.state_dict().items())
    other = random_network(dataclasses.replace(config, flow_channels=5 - channels)).flow_tower
    with pytest.raises(WeightsError, match=r"Conv3d_1a_7x7\.conv3d\.weight"):
        load_kinetics(other, state)


def test_save_and_load_are_bit_exact(tmp_path, tiny_network):
    save_network(tmp_path / "a.safetensors", tiny_network, tiny_network.config, {"thresholds": [0.1, 0.2, 0.3]})
    network, extra = load_network(tmp_path / "a.safetensors")
    assert network.config == tiny_network.config
    assert extra == {"thresholds": [0.1, 0.2, 0.3]}
    assert not network.training
    ours = network.state_dict()
    assert set(ours) == set(tiny_network.state_dict())
    assert all(torch.equal(tensor, ours[name]) for name, tensor in tiny_network.state_dict().items())
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (None, "no configuration"),
        ({"infdet": json.dumps({"format": 2, "model": {}})}, "newer version"),
        ({"infdet": "{broken"}, "damaged"),
        ({"infdet": "[]"}, "damaged"),
        ({"infdet": json.dumps({"format": 1, "model": {"sizes": 3}})}, "sizes"),
        ({"infdet": json.dumps({"format": 1, "model": {"channel_divisor": 4}})}, "expected"),
    ],
)
def test_foreign_headers_are_refused(tmp_path, tiny_network, header, message):
    file = tmp_path / "foreign.safetensors"
    save_file({n: t.contiguous() for n, t in tiny_network.state_dict().items()}, file, metadata=header)
    with pytest.raises(InfdetError, match=message) as caught:
        load_network(file)
    assert "foreign.safetensors" in str(caught.value)


def test_missing_and_surplus_entries_are_refused(tmp_path, tiny_network):
    file = tmp_path / "weights.safetensors"
    header = {"infdet": json.dumps({"format": 1, "model": tiny_network.config.to_json()})}
    save_network(file, tiny_network, tiny_network.config)
    state = load_file(file)
    save_file({n: t for n, t in state.items() if n != "fusion.gamma"}, file, metadata=header)
    with pytest.raises(WeightsError, match=r"'fusion.gamma' is missing"):
        load_network(file)
    save_file(state | {"strange": torch.zeros(1)}, file, metadata=header)
    with pytest.raises(WeightsError, match=r"'strange' is not part"):
        load_network(file)


class Trap:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    torch.save({"weight": Trap(tmp_path / "marker")}, tmp_path / "trap.pt")
    with pytest.raises(WeightsError, match=r"trap\.pt cannot be loaded as tensors alone") as caught:
        read_state_dict(tmp_path / "trap.pt")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("share", [0, 0.05, 0.9])
def test_truncated_files_are_refused(tmp_path, suffix, share):
    whole, file = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    state = {"weight": torch.ones(1000)}
    torch.save(state, whole) if suffix == ".pt" else save_file(state, whole)
    file.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    with pytest.raises(WeightsError, match="cut") as caught:
        read_state_dict(file)
    assert "\n" not in str(caught.value)


def test_wrapped_state_dicts_and_other_files(tmp_path):
    torch.save({"epoch": 3, "state_dict": {"module.a": torch.ones(2)}}, tmp_path / "wrapped.pt")
    assert list(read_state_dict(tmp_path / "wrapped.pt")) == ["a"]
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(WeightsError, match="no state dict"):
        read_state_dict(tmp_path / "list.pt")
    with pytest.raises(WeightsError, match="no such checkpoint"):
        read_state_dict(tmp_path / "absent.pt")


def test_other_classes_keep_all_entries_that_do_not_depend_on_them():
    network = random_network(preset("tiny"), seed=4)
    other, random = with_config(network, dataclasses.replace(network.config, classes=("wave", "sit")))
    assert other.config.classes == ("wave", "sit")
    assert {name.split(".")[1] for name in random} == {"super_event", "hidden", "output"}
    before, after = network.state_dict(), other.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in after if name not in random)
    same_number, random = with_config(network, dataclasses.replace(network.config, classes=("a", "b", "c")))
    assert set(random) == {
        "classifier.output.weight", "classifier.output.bias", "classifier.super_event.matrix",
        "classifier.super_event.class_weight", "classifier.hidden.weight",
    }  # fmt: skip
    assert not torch.equal(same_number.classifier.output.weight, network.classifier.output.weight)


def test_classes_of_the_same_name_keep_their_scores():
    network = random_network(preset("small"), seed=4)
    with torch.no_grad():
        network.classifier.super_event.matrix *= 5
    names = ("sit", "hug", "drop", "fight")
    other, random = with_config(network, dataclasses.replace(network.config, classes=names))
    assert len(random) == 5
    x, length = torch.randn(1, 12, 128), torch.tensor([12])
    before, after = network.classifier(x, length), other.classifier(x, length)
    assert torch.allclose(after[..., [2, 3, 1]], before, atol=1e-5)  # drop, fight, hug
    assert float(other.classifier.output.weight[0].detach().norm()) > 0.1
    reordered, random = with_config(network, dataclasses.replace(network.config, classes=("hug", "fight", "drop")))
    assert random == []
    assert torch.allclose(reordered.classifier(x, length), before.flip(2), atol=1e-5)
