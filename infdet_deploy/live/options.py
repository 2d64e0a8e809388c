"""The options of `watch` and their defaults."""

from dataclasses import dataclass
from pathlib import Path

from infdet_deploy.errors import UsageError
from infdet_deploy.precision import parse_precision


@dataclass(frozen=True)
class WatchOptions:
    """How `watch` detects, and where events go.

    Attributes:
        names: names of the sources, in the same order; empty: derived from the addresses.
        window_s: seconds of video that the head sees.
        every: snippets of 8 frames between decisions; 0: decide at a file's end, exactly as `detect`.
        backend: `openvino` or `onnxruntime`.
        precision: `float32`, `float16`, `bfloat16` or `int8`; the bundle must contain it.
        thresholds: `CLASS=SCORE`, or `SCORE` for all classes, instead of the bundle's thresholds.
        resample: interpolate to the frame rate of the training clips where it differs by more than a tenth.
        invert: for sources in which warm is dark (black-hot).
        out: file to which events are appended, one JSON line each.
        webhook: http[s] address to which every event is posted.
        mqtt: `mqtt[s]://[USER[:PASSWORD]@]HOST[:PORT][/PREFIX]`.
        queue: file in which events wait for `out`, `webhook` and `mqtt`; None: next to `out`, else in the user's state
            folder.
        clips: folder for a short MP4 of every event.
        clips_max_gb: the oldest clips are removed beyond this size.
        metrics_port: port of /metrics and /healthz; 0: any free port; None: no metrics.
        metrics_host: address at which it listens; `0.0.0.0` for other machines too.
    """

    names: tuple[str, ...] = ()
    window_s: float = 120.0
    every: int = 4
    backend: str = "openvino"
    precision: str = "float32"
    thresholds: tuple[str, ...] = ()
    resample: bool = True
    invert: bool = False
    out: Path | None = None
    webhook: str | None = None
    mqtt: str | None = None
    queue: Path | None = None
    clips: Path | None = None
    clips_max_gb: float = 10.0
    metrics_port: int | None = None
    metrics_host: str = "127.0.0.1"

    def __post_init__(self) -> None:
        object.__setattr__(self, "precision", parse_precision(self.precision))
        if not self.window_s > 0:
            raise UsageError(f"--window is {self.window_s}; expected seconds, more than 0")
        if self.every < 0:
            raise UsageError(f"--every is {self.every}; expected a number of snippets, 0 or more")
        if not self.clips_max_gb > 0:
            raise UsageError(f"--clips-max-gb is {self.clips_max_gb}; expected gigabytes, more than 0")
