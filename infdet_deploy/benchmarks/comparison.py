"""A report of `bench` beside an earlier one: what became faster or slower, and what is only noise."""

import json
from pathlib import Path
from typing import Any

from infdet_deploy.benchmarks.report import SCHEMA, VERSION
from infdet_deploy.benchmarks.statistics import change
from infdet_deploy.errors import UsageError

RULE = "more than noise: the 95 % intervals of the two medians have nothing in common"


def read_report(path: Path) -> dict[str, Any]:
    """An earlier report.json (or the output of --json); raises UsageError when it is none, or of another version."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not JSON"
        raise UsageError(f"--compare {path}: {reason}; expected a report.json of infdet-deploy bench") from None
    if not isinstance(report, dict) or report.get("schema") != SCHEMA:
        raise UsageError(f"--compare {path}: not a report of infdet-deploy bench; expected its --json or report.json")
    if report.get("version") != VERSION:
        raise UsageError(
            f"--compare {path}: version {report.get('version')} of the report, this infdet-deploy compares version "
            f"{VERSION}; measure again with one version"
        )
    try:
        for row in report["contenders"]:
            str(row["contender"])
            if not row["error"]:
                change(row["latency_ms"], row["latency_ms"])
        for key in ("bundle", "device", "cores", "frames"):
            report[key]
    except (KeyError, TypeError, ZeroDivisionError):
        raise UsageError(f"--compare {path}: the report is damaged; measure again with --out") from None
    return report


def compare_reports(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """`rows`: for every contender of both `old_ms`, `new_ms` (medians) and the entries of `statistics.change`;
    `only_old`, `only_new`: names; `warnings`: what differs otherwise, a line each; `made`: when the old one was."""
    before = {row["contender"]: row for row in old["contenders"] if not row["error"]}
    after = {row["contender"]: row for row in new["contenders"] if not row["error"]}
    return {
        "made": old.get("made"),
        "rule": RULE,
        "warnings": [
            f"{what} was {old[key]}, now it is {new[key]}: the medians are not of the same thing"
            for key, what in (
                ("bundle", "the bundle"), ("device", "the device"), ("cores", "the number of cores"),
                ("frames", "the number of frames"),
            )
            if old[key] != new[key]
        ],
        "rows": [
            {
                "contender": name,
                "old_ms": before[name]["latency_ms"]["median"],
                "new_ms": row["latency_ms"]["median"],
                **change(before[name]["latency_ms"], row["latency_ms"]),
            }
            for name, row in after.items()
            if name in before
        ],
        "only_old": [name for name in before if name not in after],
        "only_new": [name for name in after if name not in before],
    }  # fmt: skip
