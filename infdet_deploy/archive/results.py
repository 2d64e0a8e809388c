"""The result of one recording, and the files in which results are kept from run to run."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from infdet_deploy.archive.recordings import Recording
from infdet_deploy.console import finite
from infdet_deploy.detections import Detection
from infdet_deploy.files import sha256, write_json


@dataclass(frozen=True)
class RecordingResult:
    """The detections in a recording, or the reason that it could not be read.

    Attributes:
        path: the recording.
        name: its path without suffix, relative to the folder that was given; of no other recording.
        frames: number of frames.
        fps: frames per second.
        duration_s: the end of the last frame on the recording's time line, in seconds.
        highest_score: of any class and snippet, 0–1.
        detections: ordered by class, then time.
        picture: path of the picture.
        error: one line for an unreadable recording; all fields above except `path` and `name` are then empty.
        finished: read from the result file of an earlier run.
    """

    path: Path
    name: str
    frames: int = 0
    fps: float = 0.0
    duration_s: float = 0.0
    highest_score: float = 0.0
    detections: tuple[Detection, ...] = ()
    picture: Path | None = None
    error: str | None = None
    finished: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        result: dict[str, Any] = {"video": self.name, "path": str(self.path)}
        if self.error is not None:
            return result | {"error": self.error}
        result |= {"frames": self.frames, "fps": self.fps, "duration_s": self.duration_s}
        result |= {"highest_score": self.highest_score, "detections": [asdict(one) for one in self.detections]}
        if self.picture is not None:
            result["picture"] = str(self.picture)
        return result | ({"finished": True} if self.finished else {})

    @classmethod
    def from_dict(cls, result: dict[str, Any]) -> "RecordingResult":
        """Read the result of `to_dict`; KeyError or TypeError for anything else."""
        values = {name: result[name] for name in ("frames", "fps", "duration_s", "highest_score")}
        detections = tuple(Detection(**one) for one in result["detections"])
        picture = Path(result["picture"]) if "picture" in result else None
        return cls(Path(result["path"]), result["video"], **values, detections=detections, picture=picture)


class ResultFiles:
    """A folder with a result file for each recording; results made with the same settings are reused."""

    def __init__(self, folder: Path, bundle: Path, settings: dict[str, Any], picture: bool) -> None:
        """settings: the options that change a result, JSON-ready. picture: whether a finished result needs one."""
        self._folder, self._picture = folder, picture
        self._made_with = {"bundle": str(bundle), "digest": sha256(bundle / "manifest.json"), **settings}

    def read(self, recording: Recording) -> RecordingResult | None:
        """The finished result of a recording; None if it was not computed yet, or with other settings or files."""
        try:
            content = json.loads((self._folder / recording.result).read_text(encoding="utf-8"))
            (entry,) = content["videos"]
            result = RecordingResult.from_dict(entry)
            expected = self._made_with | _file_state(recording.path)
            same = all(content[key] == value for key, value in expected.items())
            drawn = result.picture is not None and result.picture.is_file()
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        if not same or (self._picture and not drawn):
            return None
        return replace(result, path=recording.path, name=recording.name, finished=True)

    def write(self, recording: Recording, result: RecordingResult) -> None:
        """Write a result, atomically."""
        entry = {**self._made_with, **_file_state(recording.path), "videos": [finite(result.to_dict())]}
        write_json(self._folder / recording.result, entry)


def _file_state(path: Path) -> dict[str, int]:
    """Changes when the recording changes."""
    files = [path] if path.is_file() else [file for file in path.iterdir() if file.is_file()]
    return {
        "bytes": sum(file.stat().st_size for file in files),
        "modified_ns": max((file.stat().st_mtime_ns for file in files), default=0),
    }
