"""Ablation: the network of each row, its training and test, and the printed tables."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from infdet_deploy.errors import TrainingError, UsageError
from infdet_deploy.model.presets import ModelConfig
from infdet_deploy.model.weights import load_network, save_network
from infdet_deploy.training import ablation, checkpoint
from infdet_deploy.training.ablation import ROWS, AblationResult, RowResult, ablate, choose, markdown
from infdet_deploy.training.dataset import load_dataset
from infdet_deploy.training.initialization import fresh_network
from infdet_deploy.training.options import AblateOptions, TrainConfig

MODEL = ModelConfig(size=64, channel_divisor=8)
CONFIG = TrainConfig(
    steps=2, batch=2, window_frames=32, validate_every=2, save_every=2, norm_windows=1, precision="float32"
)


@pytest.fixture(scope="module")
def data(nine_clips, tmp_path_factory):
    return shutil.copytree(nine_clips, tmp_path_factory.mktemp("ablation") / "data")


def test_rows_of_both_tables_are_different_networks():
    models = [row.model(MODEL) for row in ROWS]
    assert len(set(models)) == len(ROWS) == 10
    assert [row.paper for row in ROWS if row.method] == [33.77, 25.69, 34.05, 33.81, 33.82, 36.99, 37.83]
    assert {row.combination: row.paper for row in ROWS if row.combination} == {
        "baseline": 33.77, "late fusion": 34.05, "min": 35.49, "max": 34.60, "concatenate": 34.16, "our SCA": 36.99,
    }  # fmt: skip
    assert [row.name for row in choose(["sca-fen", "infrared"])] == ["sca-fen", "infrared"]
    with pytest.raises(UsageError, match=r"no row 'sca'; rows are infrared, flow-tvl1"):
        choose(["sca"])


def test_rows_are_trained_once(data, tmp_path, monkeypatch):
    save_network(tmp_path / "small.safetensors", fresh_network(MODEL, 0), MODEL)
    options = AblateOptions(
        out=tmp_path, weights=tmp_path / "small.safetensors", only=("flow-tvl1", "sca-fen"), settings=CONFIG.to_json()
    )
    found = ablate(data, options).rows
    assert [row.name for row, _ in found] == ["flow-tvl1", "sca-fen"]
    assert load_network(tmp_path / "flow-tvl1" / "best.safetensors")[0].config == found[0][0].model(MODEL)
    assert found[0][1].flow_loss is None
    before, after, still = found[1][1].flow_loss
    assert before > after > 0
    flows = [clip.flow[: len(clip.frames) // 4 * 4 - 1] for clip in load_dataset(data, "testing", MODEL)]
    sums = [np.abs(flow.astype(np.float64)).mean(axis=(1, 2, 3)).sum() for flow in flows]
    assert still == pytest.approx(np.mean([total / 10 for total in sums]), rel=1e-5)  # 80 frames are 10 snippets
    assert set(found[1][1].map) == {f"0.{n}" for n in range(1, 8)}

    (tmp_path / "sca-fen" / ablation.ROW).unlink()  # as if stopped before the row was written
    monkeypatch.setattr(checkpoint, "save_state", None)  # nothing is trained again
    for (row, old), (other, new) in zip(found, ablate(data, options).rows, strict=True):
        assert row == other
        assert dataclasses.replace(old, seconds=0.0) == dataclasses.replace(new, seconds=0.0)

    with pytest.raises(TrainingError, match="another training configuration"):
        ablate(data, dataclasses.replace(options, settings={**CONFIG.to_json(), "steps": 3}))


def test_markdown_tables():
    found = [(row, RowResult({"0.1": 0.9, "0.5": 0.5 + index / 100}, {}, None, 1.0)) for index, row in enumerate(ROWS)]
    found[6] = (ROWS[6], dataclasses.replace(found[6][1], flow_loss=(1.25, 0.25, 0.375)))
    text = markdown(found)
    assert "| infrared only | - | 50.00 | 33.77 | 90.00 |" in text
    assert "| two-stream+SCA | FEN | 56.00 | 37.83 | 90.00 |" in text
    assert "| late fusion | 52.00 | +2.00 | 34.05 | +0.28 |" in text
    assert "| SCA | 55.00 | +5.00 | 36.99 | +3.22 |" in text
    assert text.index("| min |") < text.index("| max |") < text.index("| concatenate |") < text.index("| SCA |")
    assert "1.250 untrained, 0.250 trained; predicting no motion has 0.375" in text
    assert "Table V" not in markdown(found[:1])
    report = AblationResult(Path("data"), "tiny", 2, 0, tuple(found)).to_dict()
    assert report["rows"][2]["map"]["0.5"] == pytest.approx(52)
    assert report["rows"][6]["flow_loss"] == (1.25, 0.25, 0.375)
    assert report["markdown"] == text
