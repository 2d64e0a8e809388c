"""A verification as rows of text, for the terminal and the page."""

from math import isfinite

from infdet_deploy.verification.bisect import Bisection
from infdet_deploy.verification.end_to_end import EndToEnd
from infdet_deploy.verification.stages import StageParity

STAGE_COLUMNS = ["stage", "backend", "precision", "max abs", "rel. L2", "cosine", "SNR dB", "NaN/Inf", "verdict"]
END_COLUMNS = [
    *("backend", "precision", "clips", "max abs", "rel. L2", "SNR dB", "NaN/Inf", "matched", "missed", "extra"),
    *("shift (frames)", "score shift", "verdict"),
]
STAGE_NOTE = "The worst clip; every stage is fed the network's own input. – dB: no error."
END_NOTE = "Errors are of scores. Detections are compared with the network's; shifts are the largest."
MODULE_COLUMNS = ["module", "in the stage", "alone", "NaN/Inf", "verdict"]


def stage_rows(rows: tuple[StageParity, ...]) -> list[list[str]]:
    """A row of text for each stage, backend and precision: the worst figures over the clips."""
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
                _decibels(min(clip.snr_db for clip in of)),
                str(max(clip.nonfinite for clip in of)),
                verdict(failed[0] if failed else clips[0]),
            ]
        )
    return found


def verdict(row: StageParity | EndToEnd) -> str:
    """`ok`, or the fault in a few words."""
    if row.passed:
        return "ok"
    if row.error:
        return "cannot run"
    return "not finite" if row.nonfinite else f"over {row.tolerance:.0e}"


def end_rows(rows: tuple[EndToEnd, ...]) -> list[list[str]]:
    """A row of text for each backend and precision."""
    return [
        [
            *(r.backend, r.precision, str(r.clips), f"{r.max_abs:.1e}", f"{r.relative_l2:.1e}", _decibels(r.snr_db)),
            *map(str, (r.nonfinite, r.matched, r.missed, r.extra)),
            *(("–", "–") if r.error else (f"{r.boundary_shift_frames:.1f}", f"{r.score_shift:.1e}")),
            verdict(r),
        ]
        for r in rows
    ]


def map_table(rows: tuple[EndToEnd, ...]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of mAP by IoU: the network's, then each contender's with its change."""
    reference = next(row.reference_map for row in rows if row.reference_map)
    assert reference is not None
    body = [["network", *(f"{value:.3f}" for value in reference.values())]]
    for row in rows:
        if row.map and row.map_change:
            cells = [f"{row.map[iou]:.3f} ({row.map_change[iou]:+.3f})" for iou in reference]
            body.append([f"{row.backend} {row.precision}", *cells])
    return ["", *(f"IoU {iou}" for iou in reference)], body


VICTIMS_SHOWN = 3  # after each culprit, on the terminal


def module_rows(one: Bisection, every: bool = False) -> list[list[str]]:
    """A row of text for each module that is not ok, in data order, and for the module before the first one.

    every: all victims, not only the first few after each culprit.
    """
    found: list[list[str]] = []
    left = VICTIMS_SHOWN
    for index, module in enumerate(one.modules):
        following = one.modules[index + 1].module if index + 1 < len(one.modules) else None
        if module.verdict == "ok" and following != one.first:
            continue
        if module.verdict == "victim" and not every:
            left -= 1
            if left < 0:
                continue
        if module.verdict == "culprit":
            left = VICTIMS_SHOWN
        alone = "–" if module.alone is None else f"{module.alone:.1e}"
        found.append([module.module, f"{module.inside:.1e}", alone, str(module.nonfinite), module.verdict])
    return found


def module_note(one: Bisection) -> str:
    """The meaning of the columns, and the number of victims."""
    victims = sum(module.verdict == "victim" for module in one.modules)
    return f"Relative L2 as the stage runs, and fed the reference's own input. {victims} victims in all."


def _decibels(value: float) -> str:
    return f"{value:.0f}" if isfinite(value) else "–"
