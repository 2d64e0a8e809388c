"""`detect`: which recordings there are, which are finished, and the others through the network."""

import dataclasses
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infdet_deploy.console import finite, progress, say
from infdet_deploy.errors import InfdetError, UsageError, one_line
from infdet_deploy.files import sha256, write_json
from infdet_deploy.processes import in_processes

if TYPE_CHECKING:
    from infdet_deploy.runtime.detector import Analysis, Detector

FPS_FACTOR = 1.5  # a recording's frame rate may differ by this factor from the training clips' without a note
# What is taken for a recording in a folder, and TIFF of several pages; a file that is named may have any ending.
SUFFIXES = (
    *(".3gp", ".asf", ".avi", ".cptv", ".flv", ".h264", ".h265", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"),
    *(".mpeg", ".mpg", ".mts", ".nut", ".ogv", ".ts", ".webm", ".wmv", ".y4m"),
)

Result = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Recording:
    """A file or a folder of pictures, and the name of its result file in --out."""

    path: Path
    result: Path


@dataclasses.dataclass(frozen=True)
class Settings:
    """All but the recording that a result depends on, where pictures of it go, and what the network is tuned for.

    thresholds: in place of the bundle's, as in `bundle/thresholds.py`.
    """

    bundle: Path
    backend: str
    precision: str
    fps: float | None
    picture: Path | None
    performance: str = "latency"
    thresholds: tuple[str, ...] = ()


def recordings(paths: list[Path]) -> list[Recording]:
    """The recordings that paths mean: files, folders of pictures, and all in folders of recordings, however deep.

    Raises UsageError for a folder without any, and for two whose result files would have one name.
    """
    found = []
    for path in paths:
        if path.is_dir() and not _pictures(path):
            inside = sorted(one for one in path.rglob("*") if not _hidden(one.relative_to(path)) and _is_recording(one))
            if not inside:
                raise UsageError(
                    f"{path}: no recordings in this folder; expected videos ({' '.join(SUFFIXES)}), TIFF stacks or "
                    "folders of pictures; name files of other endings"
                )
            found += [Recording(one, Path(f"{one.relative_to(path)}.json")) for one in inside]
        else:
            found.append(Recording(path, Path(f"{path.resolve().name}.json")))
    return found


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _is_recording(path: Path) -> bool:
    return _pictures(path) if path.is_dir() else _plays(path)


def _pictures(folder: Path) -> bool:
    """Whether a folder is one recording: it holds pictures, and no recordings, which the pictures may belong to."""
    from infdet_deploy.video.images import picture_files

    files = (path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return bool(picture_files(folder)) and not any(map(_plays, files))


def _plays(file: Path) -> bool:
    from infdet_deploy.video.images import is_stack

    return file.suffix.lower() in SUFFIXES or is_stack(file)


def detect(settings: Settings, paths: list[Path], out: Path | None = None, jobs: int = 1) -> Iterator[Result]:
    """What is found in every recording, JSON-ready, as they finish; one that cannot be read has an `error` instead.

    out: a folder that gets a file for each recording, whole or not at all; what such a file says already of the same
    recording, bundle and settings is not computed again, and has `finished` set. jobs: processes, each with the
    bundle's stages in memory and its share of the CPUs.
    """
    from infdet_deploy.video.blocks import expected_frames
    from infdet_deploy.video.frames import check_rate

    check_rate(settings.fps)
    if jobs < 1:
        raise UsageError(f"--jobs is {jobs}; expected the number of recordings at once, 1 or more")
    todo = recordings(paths)
    made_with: Result = {}
    if out is not None:
        _check_names(todo)
        made_with = {
            "bundle": str(settings.bundle),
            "digest": sha256(settings.bundle / "manifest.json"),
            **{"backend": settings.backend, "precision": settings.precision, "fps": settings.fps},
            "thresholds": list(settings.thresholds),
        }
        left = []
        for recording in todo:
            before = _finished(out / recording.result, made_with, recording, settings)
            if before is None:
                left.append(recording)
            else:
                yield before
        todo = left
    if not todo:
        return
    expected = {recording.path: expected_frames(recording.path) or 0 for recording in todo}
    total, done = sum(expected.values()), 0
    with progress("detect") as update:

        def show(path: Path, frames: int) -> None:
            update(done + frames, total, path.name)

        for recording, result in _run(settings, todo, jobs, show):
            done += expected[recording.path]
            update(done, total)
            if out is not None and "error" not in result:
                entry = {**made_with, **_state(recording.path), "videos": [finite(result)]}
                write_json(out / recording.result, entry)
            yield result


def _check_names(todo: list[Recording]) -> None:
    seen: dict[Path, Path] = {}
    for recording in todo:
        if recording.result in seen:
            raise UsageError(
                f"--out: {seen[recording.result]} and {recording.path} would both be written to {recording.result}; "
                "name the folder above them, or give each its own --out"
            )
        seen[recording.result] = recording.path


def _state(path: Path) -> Result:
    """What tells whether a recording is still the one that a result is of."""
    files = [path] if path.is_file() else [file for file in path.iterdir() if file.is_file()]
    return {
        "bytes": sum(file.stat().st_size for file in files),
        "modified_ns": max((file.stat().st_mtime_ns for file in files), default=0),
    }


def _finished(file: Path, made_with: Result, recording: Recording, settings: Settings) -> Result | None:
    """The result that a file holds, where it is of this recording, bundle and settings."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        (result,) = content["videos"]
        same = all(content[key] == value for key, value in (made_with | _state(recording.path)).items())
        drawn = settings.picture is None or Path(result.get("picture", "")).is_file()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # none yet, or something else under that name: it is written anew
    return {**result, "path": str(recording.path), "finished": True} if same and drawn else None


def _run(
    settings: Settings, todo: list[Recording], jobs: int, on_frames: Callable[[Path, int], None]
) -> Iterator[tuple[Recording, Result]]:
    """Every recording with its result, as they finish."""
    # what is wrong with these is told once
    _detector(settings)
    workers = min(jobs, len(todo))
    if workers == 1:
        for recording in todo:
            yield recording, _one(settings, recording, partial(on_frames, recording.path))
        return
    _detector.cache_clear()
    shares = multiprocessing.get_context("spawn").SimpleQueue()
    for share in _cpu_shares(workers):
        shares.put(share)
    try:
        for index, result in in_processes(_one, [(settings, one) for one in todo], workers, _take_share, (shares,)):
            yield todo[index], result
    except BrokenProcessPool:
        raise InfdetError("a process ended by itself, perhaps for want of memory; give fewer --jobs") from None


def _cpu_shares(workers: int) -> list[list[int]]:
    """The CPUs of each process: equal parts, or all where there are fewer than processes."""
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    each = len(cpus) // workers
    return [cpus[i * each : (i + 1) * each] for i in range(workers)] if each else [cpus] * workers


def _take_share(shares: Any) -> None:
    """Runs first in each process. Processes that all computed on all CPUs would wait for one another."""
    share = shares.get()
    if share:
        os.sched_setaffinity(0, share)


@lru_cache(maxsize=1)
def _detector(settings: Settings) -> "Detector":
    from infdet_deploy.bundle.thresholds import with_thresholds
    from infdet_deploy.runtime.detector import Detector

    detector = Detector(settings.bundle, settings.backend, settings.precision, performance=settings.performance)
    detector.bundle = with_thresholds(detector.bundle, settings.thresholds)
    return detector


def _one(settings: Settings, recording: Recording, on_frames: Callable[[int], None] | None = None) -> Result:
    """One recording's result."""
    path = recording.path
    detector = _detector(settings)
    try:
        found = detector.analyse(path, settings.fps, on_frames)
        _compare_rates(found, detector.bundle.fps)
        result = {
            "video": found.name,
            "path": str(path),
            "frames": found.frames,
            "fps": found.fps,
            "duration_s": found.duration_s,
            "highest_score": float(found.scores.max()),
            "detections": [dataclasses.asdict(d) for d in found.detections],
        }
        if settings.picture is not None:
            result["picture"] = str(_draw(detector, path, found, settings.picture / recording.result.parent))
        return result
    except UsageError:
        raise
    except (InfdetError, OSError) as error:
        return {"video": path.stem, "path": str(path), "error": one_line(error)}


def _draw(detector: "Detector", path: Path, found: "Analysis", folder: Path) -> Path:
    from infdet_deploy.plots.clip import Shown, draw_clip
    from infdet_deploy.video.blocks import frames_at

    bundle = detector.bundle
    shown = Shown(
        found.name, found.frames, found.fps, lambda picks: frames_at(path, picks, bundle.size, bundle.frame_mode)
    )
    file = folder / f"{found.name}.png"
    return draw_clip(file, shown, found.scores, bundle.classes, bundle.rule.thresholds, found.detections)


def _compare_rates(found: "Analysis", trained: float | None) -> None:
    """A note where motion looks much faster or slower than what the network was trained on."""
    if trained is not None and not 1 / FPS_FACTOR <= found.fps / trained <= FPS_FACTOR:
        say(
            f"{found.name}: {found.fps:g} frames/s, but the network was trained at {trained:g}: expect worse "
            "detections; record at that rate, or give the right one with --fps"
        )
