"""`detect`: find actions in any number of recordings of any length."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from infdet_deploy.archive.jobs import run_jobs
from infdet_deploy.archive.recordings import Recording, find_recordings
from infdet_deploy.archive.results import RecordingResult, ResultFiles
from infdet_deploy.errors import UsageError
from infdet_deploy.precision import parse_precision
from infdet_deploy.video.recording import check_rate, expected_frames


@dataclass(frozen=True)
class DetectOptions:
    """How `detect` runs.

    Attributes:
        backend: `openvino`, `onnxruntime`, `torchscript` or `tensorrt`.
        precision: `float32`, `float16`, `bfloat16` or `int8`; the bundle must contain it.
        fps: frame rate that replaces the recordings' own; needed for folders and TIFF, which carry none (else 25).
        resample: interpolate recordings to the rate of the training clips where they differ by more than a tenth or
            their frames are not evenly spaced.
        strict: refuse damaged recordings and those that are cut short.
        invert: for recordings in which warm is dark (black-hot).
        thresholds: `CLASS=SCORE`, or `SCORE` for all classes, instead of the bundle's thresholds.
        out: folder for a result file of each recording; finished recordings are not computed again.
        picture: folder for a picture of frames, scores and detections of each recording.
        performance: `latency`, one chunk after another, each on all CPUs; `throughput`, several chunks at once.
        jobs: recordings at once, each in its own process with its share of the CPUs.
    """

    backend: str = "openvino"
    precision: str = "float32"
    fps: float | None = None
    resample: bool = True
    strict: bool = False
    invert: bool = False
    thresholds: tuple[str, ...] = ()
    out: Path | None = None
    picture: Path | None = None
    performance: Literal["latency", "throughput"] = "latency"
    jobs: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "precision", parse_precision(self.precision))
        check_rate(self.fps)
        if self.jobs < 1:
            raise UsageError(f"--jobs is {self.jobs}; expected the number of recordings at once, 1 or more")


def detect(
    bundle: Path | str,
    recordings: Sequence[Path | str],
    options: DetectOptions | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> Iterator[RecordingResult]:
    """Find actions in recordings; results arrive as recordings finish.

    Args:
        bundle: a folder NAME.infdet.
        recordings: videos, folders of images, `.cptv` or TIFF stacks, or folders of any of these.
        options: see `DetectOptions`.
        on_progress: called with frames done, frames in all (estimated) and the name of the current recording.

    Yields:
        One result for each recording. A recording that cannot be read has an `error`; the rest continue.

    Raises:
        UsageError: no recordings, a live source, two results or pictures of one name, values out of range.
        BundleError, BackendError: the bundle or the backend cannot be used.
    """
    options = options or DetectOptions()
    pending = find_recordings(recordings, own_files=bool(options.out or options.picture))
    return _detect(Path(bundle), pending, options, on_progress or (lambda done, total, name: None))


def _detect(
    bundle: Path, pending: list[Recording], options: DetectOptions, on_progress: Callable[[int, int, str], None]
) -> Iterator[RecordingResult]:
    files = None
    if options.out is not None:
        settings = {
            name: getattr(options, name) for name in ("backend", "precision", "fps", "resample", "strict", "invert")
        }
        settings["thresholds"] = list(options.thresholds)
        files = ResultFiles(options.out, bundle, settings, picture=options.picture is not None)
        finished = {recording: files.read(recording) for recording in pending}
        yield from (result for result in finished.values() if result is not None)
        pending = [recording for recording, result in finished.items() if result is None]
    if not pending:
        return
    expected = {recording: expected_frames(recording.path) or 0 for recording in pending}
    total, done = sum(expected.values()), 0

    def on_frames(recording: Recording, frames: int) -> None:
        on_progress(done + frames, total, recording.name)

    for recording, result in run_jobs(bundle, pending, options, on_frames):
        done += expected[recording]
        on_progress(done, total, "")
        if files is not None and result.error is None:
            files.write(recording, result)
        yield result
