"""Names that matplotlib would take for a formula or cannot draw."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from infdet_deploy.datasets.instances import Clip, Instance, ScoredInstance
from infdet_deploy.detections import Detection, DetectionRule
from infdet_deploy.metrics.average_precision import mean_average_precision, precision_recall
from infdet_deploy.metrics.breakdown import breakdown
from infdet_deploy.plots.charts import Dot, dot_chart
from infdet_deploy.plots.clip import draw_clip
from infdet_deploy.plots.curves import draw_errors, draw_precision_recall
from infdet_deploy.plots.page import Page, Section, write_page
from infdet_deploy.video import Video

NAMES = [r"$\frac$", "a$b$c", "caf\udce9", "a\x1b\n"]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_can_be_drawn(tmp_path, name):
    rule = DetectionRule((0.5,), (1.0,))
    video = Video(name, np.zeros((40, 8, 8), np.uint8), 25.0, np.arange(40) / 25)
    found = [Detection(name, 0.0, 1.0, 0.9)]
    draw_clip(tmp_path / "clip.png", video, np.zeros((5, 1), np.float32), (name,), rule, found, note=name)
    clips, scored = [Clip("a", None, None, (Instance(name, 0.0, 1.0),))], [ScoredInstance("a", name, 0.0, 1.0, 0.9)]
    errors = breakdown(clips, scored)
    draw_errors(tmp_path / "errors.png", errors)
    scores = {"thumos14": mean_average_precision(clips, scored, "thumos14")}
    draw_precision_recall(tmp_path / "pr.png", {"thumos14": precision_recall(clips, scored, "thumos14")}, scores, 0.5)
    assert all((tmp_path / f"{file}.png").read_bytes().startswith(b"\x89PNG") for file in ("clip", "errors", "pr"))


@pytest.mark.parametrize("name", NAMES)
def test_any_name_fits_into_a_page(tmp_path, name):
    chart = dot_chart([(name, [Dot(0.1, "#000000")])], name)
    write_page(tmp_path / "page.html", Page(name, [Section(f"<script>{name}", ["a"], [[name]], chart=chart)]))
    content = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script>" not in content.split("</style>")[-1]
    if name == NAMES[0]:
        assert content.count(r"$\frac$") >= 4
