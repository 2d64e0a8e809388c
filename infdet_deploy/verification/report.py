"""What `verify` found, as JSON and as rows of text that the terminal and the page share."""

from dataclasses import asdict, dataclass, fields
from math import isfinite
from typing import Any

import numpy as np

from infdet_deploy.bundle.loading import Bundle
from infdet_deploy.bundle.tolerances import Tolerances
from infdet_deploy.runtime.backends.contender import Contender
from infdet_deploy.runtime.backends.registry import get_backend
from infdet_deploy.verification.bisect import Bisection
from infdet_deploy.verification.end_to_end import EndToEnd
from infdet_deploy.verification.stages import StageParity


@dataclass(frozen=True)
class Verification:
    """Everything that `verify` found.

    against: `network` or `golden clip`. data: the data set whose clips went from end to end, None for seeded clips.
    shown_scores: the reference's scores of `shown_clip`, the longest of these, float32 [T', C]. left_out: what was not
    compared for want of a built engine, or since this processor computes it wrongly.
    """

    bundle: Bundle
    against: str
    data: str | None
    tolerances: Tolerances
    stages: tuple[StageParity, ...]
    end_to_end: tuple[EndToEnd, ...]
    bisections: tuple[Bisection, ...] | None
    shown_clip: str
    shown_scores: np.ndarray
    left_out: tuple[Contender, ...] = ()

    @property
    def rows(self) -> list[StageParity | EndToEnd]:
        """All that was compared with a tolerance."""
        return [*self.stages, *self.end_to_end]

    @property
    def passed(self) -> bool:
        return bool(self.stages) and all(row.passed for row in self.rows)

    @property
    def errors(self) -> list[str]:
        """Why backends could not run, a line each."""
        return list(dict.fromkeys(row.error for row in self.rows if row.error))

    @property
    def notes(self) -> list[str]:
        """Which backends were left out, and what to do, a line each."""
        precisions: dict[str, list[str]] = {}
        for entry in self.left_out:
            precisions.setdefault(entry.backend, []).append(entry.precision)
        return [
            f"{backend} left out in {', '.join(held)}: {self._why(backend, held)}"
            for backend, held in precisions.items()
        ]

    def _why(self, backend: str, held: list[str]) -> str:
        if get_backend(backend).capabilities.built_ahead:
            build = f"infdet-deploy build {self.bundle.path.name} --target {backend} --precision {','.join(held)}"
            return f"no engine here for this device; {build}"
        return "sums are cut off on this processor, which has no VNNI; verify on one that has"

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; NaN and infinity are left to the writer."""
        report: dict[str, Any] = {
            "bundle": str(self.bundle.path),
            "passed": self.passed,
            "against": self.against,
            "data": self.data,
            "tolerances": self.tolerances.table(),
            "stages": [asdict(row) | {"passed": row.passed} for row in self.stages],
            "end_to_end": [
                {field.name: getattr(row, field.name) for field in fields(row) if field.name != "scores"}
                | {"map_change": row.map_change, "passed": row.passed}
                for row in self.end_to_end
            ],
            "left_out": [asdict(entry) for entry in self.left_out],
        }
        if self.bisections is not None:
            report["bisect"] = [
                asdict(one) | {"first": one.first, "culprits": list(one.culprits), "summary": one.summary}
                for one in self.bisections
            ]
        return report


STAGE_COLUMNS = ["stage", "backend", "precision", "max abs", "rel. L2", "cosine", "SNR dB", "NaN/Inf", "verdict"]
END_COLUMNS = [
    *("backend", "precision", "clips", "max abs", "rel. L2", "SNR dB", "NaN/Inf", "matched", "missed", "extra"),
    *("shift (frames)", "score shift", "verdict"),
]
STAGE_NOTE = "The worst of the clips; every stage is fed the network's own input to it. – dB: no error."
END_NOTE = "Errors are of scores. Detections by the bundle's rule against the network's; shifts are the largest."
MODULE_COLUMNS = ["module", "in the stage", "alone", "NaN/Inf", "verdict"]


def stage_rows(rows: tuple[StageParity, ...]) -> list[list[str]]:
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
                _decibels(min(clip.snr_db for clip in of)),
                str(max(clip.nonfinite for clip in of)),
                verdict(failed[0] if failed else clips[0]),
            ]
        )
    return found


def verdict(row: StageParity | EndToEnd) -> str:
    """`ok`, or what is wrong in a few words."""
    if row.passed:
        return "ok"
    if row.error:
        return "cannot run"
    return "not finite" if row.nonfinite else f"over {row.tolerance:.0e}"


def end_rows(rows: tuple[EndToEnd, ...]) -> list[list[str]]:
    """One row of text for each backend and precision."""
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


VICTIMS_SHOWN = 3  # behind each culprit, on the terminal; all that follow it are fed wrong numbers


def module_rows(one: Bisection, every: bool = False) -> list[list[str]]:
    """One row of text a module, in data order: those that are not ok, and the one before the first of them.

    every: all victims, not only the first few behind each culprit.
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
    """What the columns are, and how many victims there are in all."""
    victims = sum(module.verdict == "victim" for module in one.modules)
    return f"Relative L2 as the stage runs, and fed the reference's own input. {victims} victims in all."


def _decibels(value: float) -> str:
    return f"{value:.0f}" if isfinite(value) else "–"
