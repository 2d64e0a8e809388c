"""`verify`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infdet_deploy.cli.app import JsonFlag, app
from infdet_deploy.console import print_json, table

if TYPE_CHECKING:
    from infdet_deploy.benchmarks.bisect import Bisection
    from infdet_deploy.benchmarks.end_to_end import EndToEnd
    from infdet_deploy.benchmarks.parity import StageParity


@app.command()
def verify(
    bundle: Annotated[Path | None, typer.Argument(help="A bundle [default: newest here].")] = None,
    data: Annotated[
        Path | None, typer.Option(help="A data set whose clips go from end to end, with mAP [default: seeded clips].")
    ] = None,
    subset: Annotated[str | None, typer.Option(help="Subset of --data [default: testing, else all].")] = None,
    bisect: Annotated[
        bool, typer.Option("--bisect", help="Name the modules at fault in every ONNX stage out of tolerance.")
    ] = False,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Compare with the bundle's golden clip; needs no torch and no data.")
    ] = False,
    tolerance: Annotated[
        list[str] | None,
        typer.Option(
            help="PRECISION=VALUE, relative L2 of a stage, or PRECISION.scores=VALUE, absolute error of a score, in "
            "the place of the table's; may be repeated."
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Also write the report as one HTML page.")] = None,
    json_output: JsonFlag = False,
) -> None:
    """Compare a bundle with its network: every stage and whole clips, on every backend here in every precision; exit 1
    when a tolerance is missed."""
    from infdet_deploy.commands import verify as command

    result = command.verify(bundle, data, subset, bisect, self_test, tolerance or [], html)
    if json_output:
        print_json(result.to_json())
    else:
        against = f"{result.bundle.path} against its {result.against}"
        columns = ["stage", "backend", "precision", "max abs", "rel. L2", "cosine", "SNR dB", "NaN/Inf", "verdict"]
        rows = stage_rows(result.stages)
        table(
            f"{against}, stage by stage", columns, rows, "The worst of the clips; every stage is fed the right input."
        )
        clips = result.data or "seeded clips"
        table(f"\nFrom frames to detections ({clips})", END_COLUMNS, end_rows(result.end_to_end), END_NOTE)
        if any(row.map for row in result.end_to_end):
            table("\nmAP (THUMOS'14)", *map_table(result.end_to_end))
        for row in (*result.stages, *result.end_to_end):
            if row.error:
                print(f"{row.backend} {row.precision}: {row.error}")
        for one in result.bisections or ():
            print()
            table(one.summary, ["module", "in the stage", "alone", "NaN/Inf", "verdict"], module_rows(one), MODULE_NOTE)
        if result.bisections == ():
            print("nothing to bisect")
        failed = sum(row[-1] != "ok" for row in (*rows, *end_rows(result.end_to_end)))
        print(f"{len(rows) + len(result.end_to_end) - failed} within tolerance, {failed} out of tolerance")
        if html is not None:
            print(f"page: {html}")
    if not result.passed:
        raise typer.Exit(1)


END_COLUMNS = [
    "backend",
    "precision",
    "clips",
    "max abs",
    "rel. L2",
    "SNR dB",
    "NaN/Inf",
    "matched",
    "missed",
    "extra",
] + [
    "shift (frames)",
    "score shift",
    "verdict",
]
END_NOTE = "Errors are of scores. Detections by the bundle's rule against the network's; shifts are the largest."
MODULE_NOTE = "Relative L2 as the stage runs, and fed the reference's own input."


def stage_rows(rows: "tuple[StageParity, ...]") -> list[list[str]]:
    """One row of text for each stage, backend and precision: the worst figures over the clips."""
    groups: dict[tuple[str, str, str], list[StageParity]] = {}
    for row in rows:
        groups.setdefault((row.stage, row.backend, row.precision), []).append(row)
    found = []
    for names, clips in groups.items():
        failed = [clip for clip in clips if not clip.passed]
        of = failed or clips
        found.append(
            [
                *names,
                f"{max(clip.max_abs for clip in of):.1e}",
                f"{max(clip.relative_l2 for clip in of):.1e}",
                f"{min(clip.cosine for clip in of):.7f}",
                f"{min(clip.snr_db for clip in of):.0f}",
                str(max(clip.nonfinite for clip in of)),
                verdict(failed[0] if failed else clips[0]),
            ]
        )
    return found


def verdict(row: "StageParity | EndToEnd") -> str:
    """`ok`, or what is wrong in a few words."""
    if row.passed:
        return "ok"
    if row.error:
        return "cannot run"
    return "not finite" if row.nonfinite else f"over {row.tolerance:.0e}"


def end_rows(rows: "tuple[EndToEnd, ...]") -> list[list[str]]:
    """One row of text for each backend and precision."""
    return [
        [
            *(r.backend, r.precision, str(r.clips), f"{r.max_abs:.1e}", f"{r.relative_l2:.1e}", f"{r.snr_db:.0f}"),
            *map(str, (r.nonfinite, r.matched, r.missed, r.extra)),
            *(f"{r.boundary_shift_frames:.1f}", f"{r.score_shift:.1e}", verdict(r)),
        ]
        for r in rows
    ]


def map_table(rows: "tuple[EndToEnd, ...]") -> tuple[list[str], list[list[str]]]:
    """Columns and rows of mAP by IoU: the network's, then each contender's with its change."""
    reference = next(row.reference_map for row in rows if row.reference_map)
    assert reference is not None
    body = [["network", *(f"{value:.3f}" for value in reference.values())]]
    for row in rows:
        if row.map and row.map_change:
            cells = [f"{row.map[iou]:.3f} ({row.map_change[iou]:+.3f})" for iou in reference]
            body.append([f"{row.backend} {row.precision}", *cells])
    return ["", *(f"IoU {iou}" for iou in reference)], body


def module_rows(one: "Bisection") -> list[list[str]]:
    """One row of text for each module that is not ok, and the one before the first of them."""
    bad = [index for index, module in enumerate(one.modules) if module.verdict != "ok"]
    shown = sorted({*bad, *(index - 1 for index in bad[:1] if index)})
    return [
        [
            m.module,
            f"{m.inside:.1e}",
            "–" if m.alone is None else f"{m.alone:.1e}",
            str(m.nonfinite),
            m.verdict,
        ]
        for m in (one.modules[index] for index in shown)
    ]
