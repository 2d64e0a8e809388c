"""Detection files: THUMOS text, ActivityNet results, and the output of `detect --json`.

1. THUMOS text: lines `video start_s end_s class_id score`.
2. ActivityNet results: `{"results": {video: [{"label", "segment", "score"}]}}`.
3. `detect --json`: `{"videos": [{"video", "detections": [{"label", "start_s", "end_s", "score"}]}]}`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infdet_deploy.datasets.formats.parsing import field, interval, load_json, number, read_rows, segment
from infdet_deploy.datasets.formats.thumos import INFDET_CLASS_IDS, class_id
from infdet_deploy.datasets.instances import ScoredInstance
from infdet_deploy.errors import AnnotationError


def read_detections(path: Path | str, class_ids: dict[int, str] | None = None) -> list[ScoredInstance]:
    """Read detections in file order from THUMOS text, or from a `.json` file in one of the two JSON formats.

    class_ids: names for the numeric ids of text files (see `read_class_ids`); default: InfDet's drop 1, fight 2, hug 3.
    Raises AnnotationError, with file and line or file, video and index, for a missing file, malformed rows, numbers
    that are not finite, end < start, an unknown class id, and two recordings of one name.
    """
    if (path := Path(path)).suffix.lower() == ".json":
        return list(_json_detections(path))
    ids = INFDET_CLASS_IDS if class_ids is None else class_ids
    detections = []
    for where, (video, start, end, text, score) in read_rows(path, "video start_s end_s class_id score"):
        label = ids.get(class_id(where, text))
        if label is None:
            known = ", ".join(f"{key} {name}" for key, name in sorted(ids.items()))
            raise AnnotationError(f"{where}: unknown class id {text}; known are {known}")
        detections.append(ScoredInstance(video, label, *interval(where, start, end, empty=True), number(where, score)))
    return detections


def _json_detections(path: Path) -> Iterator[ScoredInstance]:
    root = load_json(path)
    videos: list[tuple[str, list[Any]]] = []
    if isinstance(root, dict) and "results" in root:
        results = field(str(path), root, "results", dict)
        videos = [(name, field(f"{path}: results", results, name, list)) for name in results]
    elif isinstance(root, dict) and "videos" in root:
        seen: set[str] = set()
        for index, entry in enumerate(field(str(path), root, "videos", list)):
            where = f"{path}: videos[{index}]"
            if isinstance(entry, dict) and "error" in entry:
                continue  # a recording that could not be read
            name = field(where, entry, "video", str)
            if name in seen:
                raise AnnotationError(
                    f"{where}: video '{name}' occurs twice, here for {entry.get('path')}; run `detect` on a folder "
                    "that contains both recordings: it names them apart"
                )
            seen.add(name)
            videos.append((name, field(where, entry, "detections", list)))
    else:
        raise AnnotationError(f"{path}: no detections found, expected a 'results' or a 'videos' entry")
    for video, rows in videos:
        for index, row in enumerate(rows):
            where = f"{path}: video '{video}', detection {index}"
            label = field(where, row, "label", str)
            ends = segment(where, row) if "results" in root else (row.get("start_s"), row.get("end_s"))
            start_s, end_s = interval(where, *ends, empty=True)
            yield ScoredInstance(video, label, start_s, end_s, number(f"{where}, score", row.get("score")))
