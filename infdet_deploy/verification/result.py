"""The result of `verify`."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from infdet_deploy.bundle.loading import Bundle
from infdet_deploy.bundle.tolerances import Tolerances
from infdet_deploy.runtime.backends.contender import Contender
from infdet_deploy.runtime.backends.registry import get_backend
from infdet_deploy.verification.bisect import Bisection
from infdet_deploy.verification.end_to_end import EndToEnd
from infdet_deploy.verification.stages import StageParity


@dataclass(frozen=True)
class Verification:
    """The result of `verify`.

    data: the data set and subset compared from frames to detections, None for generated clips and the golden clip.
    own_thresholds: number of clips in which the bundle's rule detects nothing, compared at thresholds from their own
    scores. bisections: None if not requested. shown_clip, shown_scores: the longest clip and the reference's scores of
    it, float32 [T', C]. left_out: contenders without an engine or with wrong results on this processor.
    """

    bundle: Bundle
    against: Literal["network", "golden clip"]
    data: str | None
    own_thresholds: int
    tolerances: Tolerances
    stages: tuple[StageParity, ...]
    end_to_end: tuple[EndToEnd, ...]
    bisections: tuple[Bisection, ...] | None
    shown_clip: str
    shown_scores: npt.NDArray[np.float32]
    left_out: tuple[Contender, ...] = ()

    @property
    def rows(self) -> list[StageParity | EndToEnd]:
        """Everything that was compared with a tolerance."""
        return [*self.stages, *self.end_to_end]

    @property
    def passed(self) -> bool:
        return bool(self.stages) and all(row.passed for row in self.rows)

    @property
    def reference_map(self) -> dict[str, float] | None:
        """The network's mAP by IoU; None without annotated clips."""
        return next((row.reference_map for row in self.end_to_end), None)

    @property
    def errors(self) -> list[str]:
        """Why backends could not run, one line each."""
        return list(dict.fromkeys(row.error for row in self.rows if row.error))

    @property
    def notes(self) -> list[str]:
        """Which backends were left out, and what to do, one line each."""
        precisions: dict[str, list[str]] = {}
        for entry in self.left_out:
            precisions.setdefault(entry.backend, []).append(entry.precision)
        return [f"{name} left out in {', '.join(of)}: {self._why(name, of)}" for name, of in precisions.items()]

    @property
    def clips(self) -> str:
        """The clips compared from frames to detections, in a few words."""
        kind = "golden clip" if self.against == "golden clip" else "generated clips"
        if not self.own_thresholds:
            return self.data or kind
        own = f"{self.own_thresholds} without a detection at the bundle's thresholds"
        if self.against == "golden clip":
            own = "no detection at the bundle's thresholds"
        return f"{kind}; {own}, compared at thresholds from the reference scores"

    def _why(self, backend: str, precisions: list[str]) -> str:
        if get_backend(backend).capabilities.built_ahead:
            build = f"infdet-deploy build {self.bundle.path.name} --target {backend} --precision {','.join(precisions)}"
            return f"no engine here for this device; {build}"
        return "this processor has no VNNI, without which int8 sums overflow; verify on a processor with VNNI"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready except for NaN and infinity, which `console.print_json` writes as null."""
        report: dict[str, Any] = {
            "bundle": str(self.bundle.path),
            "passed": self.passed,
            "against": self.against,
            "data": self.data,
            "own_thresholds": self.own_thresholds,
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
