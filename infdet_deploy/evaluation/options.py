"""The settings of `evaluate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from infdet_deploy.errors import UsageError
from infdet_deploy.metrics.average_precision import Protocol

Protocols = Literal["both", "thumos14", "activitynet"]


@dataclass(frozen=True)
class EvaluateOptions:
    """Settings of `evaluate`. Raises UsageError for an unknown protocol.

    subset: default: all clips for a detection file, `testing` for networks if the data set has it, otherwise all.
    protocol: of mean average precision. fit_thresholds: first fit the thresholds on the subset `training`, and store
    them in the checkpoint or bundle. backend, precision: for bundles; default: OpenVINO, float32. out: a folder for
    report.json and pictures; an earlier report in it is replaced.
    """

    subset: str | None = None
    protocol: Protocols = "both"
    fit_thresholds: bool = False
    backend: str | None = None
    precision: str | None = None
    out: Path | str | None = None

    def __post_init__(self) -> None:
        if self.protocol not in get_args(Protocols):
            raise UsageError(f"protocol is '{self.protocol}', expected both, thumos14 or activitynet")

    @property
    def protocols(self) -> tuple[Protocol, ...]:
        return get_args(Protocol) if self.protocol == "both" else (self.protocol,)
