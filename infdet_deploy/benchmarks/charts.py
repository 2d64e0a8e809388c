"""Charts of `bench`: latency of every run, stages of a run, speed against accuracy, roofline."""

from math import isfinite, nan
from typing import Any

from infdet_deploy.benchmarks.preparation import Preparation
from infdet_deploy.benchmarks.report import ContenderReport, Figures
from infdet_deploy.benchmarks.roofline import Peaks
from infdet_deploy.plots.charts import REFERENCE_COLOUR, Chart, label_rows
from infdet_deploy.plots.figure import COLOURS

Measured = list[tuple[ContenderReport, Figures]]
STAGE_LABELS = {
    "fen": "fen", "infrared_tower": "infrared", "flow_tower": "flow", "head": "head", "detections": "detections",
}  # fmt: skip


def _colours(measured: Measured) -> dict[str, str]:
    """By contender."""
    return {row.contender: COLOURS[index % len(COLOURS)] for index, (row, _) in enumerate(measured)}


def latency_chart(measured: Measured) -> Chart:
    """A mark for every run, a line at the median, a band over its interval."""
    colours = _colours(measured)

    def draw(axes: Any) -> None:
        for index, (row, figures) in enumerate(measured):
            colour, ms = colours[row.contender], figures.latency_ms
            axes.barh(index, ms.high - ms.low, 0.7, ms.low, color=colour, alpha=0.25)
            # consecutive runs at different heights, so that marks do not cover each other
            heights = [index + (number * 7 % 5 - 2) * 0.08 for number in range(len(figures.runs_ms))]
            axes.plot(figures.runs_ms, heights, "o", markersize=3, color=colour, alpha=0.6)
            axes.plot((ms.median, ms.median), (index - 0.4, index + 0.4), color=colour, linewidth=2)
        label_rows(axes, [row.contender for row, _ in measured])
        axes.set_xlim(0)
        axes.grid(axis="x")

    return Chart(draw, 0.8 + 0.34 * len(measured), "ms per clip; line and band: median and its interval")


def stage_chart(measured: Measured, preparation: Preparation | None) -> Chart:
    """A bar per contender, its stages stacked; first, in grey, preparation, which frames/s does not include."""
    parts: list[tuple[str, str, list[float]]] = []  # label, colour, ms by contender
    if preparation:
        parts.append(("decode", REFERENCE_COLOUR, [preparation.decode_ms] * len(measured)))
        parts.append(("preprocess", "#cccccc", [preparation.preprocess_ms] * len(measured)))
    for (stage, label), colour in zip(STAGE_LABELS.items(), COLOURS, strict=False):
        times_ms = [figures.stages_ms.get(stage, nan) for _, figures in measured]
        if any(map(isfinite, times_ms)):
            parts.append((label, colour, [ms if isfinite(ms) else 0.0 for ms in times_ms]))

    def draw(axes: Any) -> None:
        starts = [0.0] * len(measured)
        for label, colour, times_ms in parts:
            axes.barh(range(len(measured)), times_ms, 0.7, starts, color=colour, label=label)
            starts = [start + ms for start, ms in zip(starts, times_ms, strict=True)]
        label_rows(axes, [row.contender for row, _ in measured])
        axes.grid(axis="x")

    return Chart(draw, 1.0 + 0.34 * len(measured), "ms per clip, medians")


def accuracy_chart(measured: Measured) -> Chart:
    """Frames per second over the largest score difference; contenders without a difference are at the left edge."""
    colours = _colours(measured)
    errors = {row.contender: f.accuracy.score_max_abs for row, f in measured if f.accuracy}
    lowest = min((error for error in errors.values() if error > 0 and isfinite(error)), default=1e-6) / 10

    def draw(axes: Any) -> None:
        for row, figures in measured:
            error = errors.get(row.contender, nan)
            if isfinite(error):
                rate = figures.frames_per_s["median"]
                axes.semilogx(max(error, lowest), rate, "o", color=colours[row.contender], label=row.contender)
        axes.set_ylim(0)
        axes.grid()

    return Chart(draw, 3.0, "largest score difference (left edge: none)", "frames/s")


def roofline_chart(measured: Measured, peaks: Peaks) -> Chart:
    """Multiply-adds per second that each stage reaches over its multiply-adds per byte, under the machine's limits."""
    colours = _colours(measured)

    def draw(axes: Any) -> None:
        intensities, bandwidth = [], peaks.bytes_per_s
        for row, figures in measured:
            marks = [
                (stage.multiply_adds / stage.bytes, 1000 * stage.multiply_adds / figures.stages_ms[stage.stage])
                for stage in (figures.roofline.stages if figures.roofline else [])
                if figures.stages_ms[stage.stage] > 0 and stage.multiply_adds > 0
            ]
            if marks:
                axes.loglog(*zip(*marks, strict=True), "o", color=colours[row.contender], label=row.contender)
                intensities += [intensity for intensity, _ in marks]
        for precision, peak in peaks.multiply_adds_per_s.items():
            if peak and bandwidth and intensities:
                left, ridge = min(intensities) / 2, peak / bandwidth
                right = 2 * max(*intensities, ridge)
                line = sorted({min(left, ridge), ridge, right})
                axes.loglog(line, [min(peak, x * bandwidth) for x in line], color=REFERENCE_COLOUR, linewidth=1.2)
                axes.annotate(precision, (right, peak), ha="right", va="bottom", fontsize=8)
        axes.grid()

    return Chart(draw, 3.6, "multiply-adds per byte", "multiply-adds/s")
