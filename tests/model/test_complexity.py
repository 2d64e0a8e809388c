"""Counted parameters and multiply-adds against the published figures."""

import dataclasses

import pytest

pytest.importorskip("torch")

from infdet_deploy.model.complexity import complexity, count, sca_per_snippet
from infdet_deploy.model.presets import preset


def test_published_figures():
    rows = {row.name: row for row in count(preset("infdet"), 100)}
    assert list(rows) == ["fen", "infrared_tower", "flow_tower", "sca", "classifier"]
    assert rows["fen"].parameters == 3_345_091
    assert sum(row.multiply_adds for row in rows.values()) / 1e9 == pytest.approx(374.4, abs=0.05)
    published = {"fen": (25.3, 0.05), "infrared_tower": (173.8, 0.05), "flow_tower": (173.8, 0.05), "sca": (1.53, 5e-3)}
    for name, (giga, tolerance) in published.items():
        assert rows[name].multiply_adds / 1e9 == pytest.approx(giga, abs=tolerance), name


def test_projection_gives_the_papers_parameter_count():
    config = dataclasses.replace(preset("infdet"), fen_projection=True)
    assert count(config, 16)[0].parameters == 3_410_627


def test_sca_for_one_snippet():
    assert sca_per_snippet(preset("infdet")) == pytest.approx(135e6, rel=0.01)


def test_a_preset_without_flow_has_no_figures_of_fen_and_sca():
    found = complexity("array", 100)
    assert [stage.name for stage in found.stages] == ["infrared_tower", "classifier"]
    assert (found.fen_parameters_with_projection, found.sca_multiply_adds_per_snippet, found.notes) == (0, 0, "")
