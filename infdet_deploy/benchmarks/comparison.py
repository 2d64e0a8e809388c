"""A report compared with an earlier one: what became faster or slower, and what is only noise."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infdet_deploy.benchmarks.statistics import Summary
from infdet_deploy.errors import UsageError

SCHEMA, VERSION = "infdet-deploy bench", 1
RULE = "more than noise: the 95 % intervals of the two medians do not overlap"


@dataclass(frozen=True)
class Baseline:
    """The part of a report that a comparison needs. latency_ms: by contender, without failed ones."""

    made: str
    bundle: str
    device: str
    cores: int
    frames: int
    latency_ms: dict[str, Summary]


@dataclass(frozen=True)
class ComparedRow:
    """Medians of one contender in both reports.

    change: new median ÷ old − 1; low, high: the same between the nearest and farthest ends of both intervals.
    more_than_noise: the two intervals do not overlap.
    """

    contender: str
    old_ms: float
    new_ms: float
    change: float
    low: float
    high: float
    more_than_noise: bool


def compare_medians(contender: str, old: Summary, new: Summary) -> ComparedRow:
    """How much longer or shorter the median became."""
    return ComparedRow(
        contender,
        old.median,
        new.median,
        change=new.median / old.median - 1,
        low=new.low / old.high - 1,
        high=new.high / old.low - 1,
        more_than_noise=new.low > old.high or new.high < old.low,
    )


@dataclass(frozen=True)
class Comparison:
    """made: when the old report was made; warnings: other differences, a line each; only_old, only_new: contenders."""

    made: str
    warnings: list[str]
    rows: list[ComparedRow]
    only_old: list[str]
    only_new: list[str]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"rule": RULE}


def read_baseline(path: Path) -> Baseline:
    """Read a report.json, or what `--json` printed; raises UsageError for another file or version."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not JSON"
        raise UsageError(f"--compare {path}: {reason}; expected a report.json of infdet-deploy bench") from None
    if not isinstance(report, dict) or report.get("schema") != SCHEMA:
        raise UsageError(f"--compare {path}: not a report of infdet-deploy bench; expected its --json or report.json")
    if report.get("version") != VERSION:
        raise UsageError(
            f"--compare {path}: report version {report.get('version')}, but this infdet-deploy compares version "
            f"{VERSION}; measure again with one version"
        )
    try:
        latency_ms = {r["contender"]: Summary(**r["latency_ms"]) for r in report["contenders"] if not r["error"]}
        baseline = Baseline(
            str(report.get("made")), report["bundle"], report["device"], report["cores"], report["frames"], latency_ms
        )
        compare_reports(baseline, baseline)  # fails for figures that cannot be compared
        return baseline
    except (KeyError, TypeError, ZeroDivisionError):
        raise UsageError(f"--compare {path}: the report is damaged; measure again with --out") from None


def compare_reports(old: Baseline, new: Baseline) -> Comparison:
    """Compare the contenders that both reports have."""
    settings = {
        "the bundle": (old.bundle, new.bundle),
        "the device": (old.device, new.device),
        "the number of cores": (old.cores, new.cores),
        "the number of frames": (old.frames, new.frames),
    }
    rows = [
        compare_medians(name, old.latency_ms[name], ms) for name, ms in new.latency_ms.items() if name in old.latency_ms
    ]
    return Comparison(
        old.made,
        [
            f"{name} was {before}, now it is {now}: the medians measure different things"
            for name, (before, now) in settings.items()
            if before != now
        ],
        rows,
        only_old=[name for name in old.latency_ms if name not in new.latency_ms],
        only_new=[name for name in new.latency_ms if name not in old.latency_ms],
    )
