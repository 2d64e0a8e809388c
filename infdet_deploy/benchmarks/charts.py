"""Charts of `bench`: latency of every run, stages of a run, speed against accuracy, roofline."""

from collections.abc import Mapping
from math import isfinite, nan

from infdet_deploy.benchmarks.preparation import Preparation
from infdet_deploy.benchmarks.roofline import Peaks
from infdet_deploy.benchmarks.tables import STAGE_LABELS, Measured
from infdet_deploy.plots.charts import COLOURS, REFERENCE_COLOUR, Svg, chart

Colours = Mapping[str, str]  # by contender


def latency_chart(measured: Measured, colours: Colours) -> Svg:
    """A mark for every run, a line at the median, a band over its interval."""
    with chart(0.8 + 0.34 * len(measured), "ms per clip; line and band: median and its interval") as made:
        for index, (row, figures) in enumerate(measured):
            colour, ms = colours[row.contender], figures.latency_ms
            made.axes.barh(index, ms.high - ms.low, 0.7, ms.low, color=colour, alpha=0.25)
            # consecutive runs at different heights, so that marks do not cover each other
            heights = [index + (number * 7 % 5 - 2) * 0.08 for number in range(len(figures.runs_ms))]
            made.axes.plot(figures.runs_ms, heights, "o", markersize=3, color=colour, alpha=0.6)
            made.axes.plot((ms.median, ms.median), (index - 0.4, index + 0.4), color=colour, linewidth=2)
        made.axes.set_yticks(range(len(measured)), [row.contender for row, _ in measured])
        made.axes.invert_yaxis()
        made.axes.set_xlim(0)
        made.axes.grid(axis="x")
    return made.svg


def stage_chart(measured: Measured, preparation: Preparation | None) -> Svg:
    """A bar per contender, its stages stacked; first, in grey, preparation, which frames/s does not include."""
    parts = dict(zip(STAGE_LABELS.values(), COLOURS, strict=False))
    parts |= {"decode": REFERENCE_COLOUR, "preprocess": "#cccccc"}
    with chart(1.0 + 0.34 * len(measured), "ms per clip, medians") as made:
        labelled = set()
        for index, (_, figures) in enumerate(measured):
            times = {"decode": preparation.decode_ms, "preprocess": preparation.preprocess_ms} if preparation else {}
            times |= {label: figures.stages_ms.get(stage, nan) for stage, label in STAGE_LABELS.items()}
            start = 0.0
            for label, ms in times.items():
                if isfinite(ms):
                    new = label not in labelled
                    made.axes.barh(index, ms, 0.7, start, color=parts[label], label=label if new else None)
                    labelled.add(label)
                    start += ms
        made.axes.set_yticks(range(len(measured)), [row.contender for row, _ in measured])
        made.axes.invert_yaxis()
        made.axes.grid(axis="x")
    return made.svg


def accuracy_chart(measured: Measured, colours: Colours) -> Svg:
    """Frames per second over the largest score difference; contenders without a difference are at the left edge."""
    errors = {row.contender: f.accuracy.score_max_abs for row, f in measured if f.accuracy}
    lowest = min((error for error in errors.values() if error > 0 and isfinite(error)), default=1e-6) / 10
    with chart(3.0, "largest score difference (left edge: none)", "frames/s") as made:
        for row, figures in measured:
            error = errors.get(row.contender, nan)
            if isfinite(error):
                rate = figures.frames_per_s["median"]
                made.axes.semilogx(max(error, lowest), rate, "o", color=colours[row.contender], label=row.contender)
        made.axes.set_ylim(0)
        made.axes.grid()
    return made.svg


def roofline_chart(measured: Measured, peaks: Peaks, colours: Colours) -> Svg:
    """Multiply-adds per second that each stage reaches over its multiply-adds per byte, under the machine's limits."""
    intensities, bandwidth = [], peaks.bytes_per_s
    with chart(3.6, "multiply-adds per byte", "multiply-adds/s") as made:
        for row, figures in measured:
            marks = [
                (stage.multiply_adds / stage.bytes, 1000 * stage.multiply_adds / figures.stages_ms[stage.stage])
                for stage in (figures.roofline.stages if figures.roofline else [])
                if figures.stages_ms[stage.stage] > 0 and stage.multiply_adds > 0
            ]
            if marks:
                made.axes.loglog(*zip(*marks, strict=True), "o", color=colours[row.contender], label=row.contender)
                intensities += [intensity for intensity, _ in marks]
        for precision, peak in peaks.multiply_adds_per_s.items():
            if peak and bandwidth and intensities:
                left, ridge = min(intensities) / 2, peak / bandwidth
                right = 2 * max(*intensities, ridge)
                line = sorted({min(left, ridge), ridge, right})
                heights = [min(peak, x * bandwidth) for x in line]
                made.axes.loglog(line, heights, color=REFERENCE_COLOUR, linewidth=1.2)
                made.axes.annotate(precision, (right, peak), ha="right", va="bottom", fontsize=8)
        made.axes.grid()
    return made.svg
