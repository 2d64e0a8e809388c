"""Changed annotation and detection files: each parser reads each file or refuses it in one line with file and line.

    python -m tools.campaigns.annotations --count 10000

The count is for each of the parsers.
"""

import copy
import json
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from infdet_deploy import console
from infdet_deploy.datasets.annotations import read_annotations, write_annotations
from infdet_deploy.datasets.detection_files import read_detections
from infdet_deploy.datasets.formats import FORMATS
from infdet_deploy.datasets.instances import Clip, Instance
from tools.campaigns.common import Tally, change_bytes, finish, options
from tools.campaigns.manifests import mutate

CLIPS = tuple(
    Clip(name, 20.0, "testing", (Instance("drop", 1.0, 2.5), Instance("hug", 4.0, 9.0), Instance("fight", 9.5, 11.0)))
    for name in ("video_1", "video_2", "video_3")
)
PIECES = (
    b"\0", b"\n", b"\r", b"\x0c", b"\x1b[31m", b"\xe2\x80\xa8", b"\xef\xbb\xbf", b"\xff", b"nan", b"-inf", b"1e999",
    b"9" * 5000, b"1_0", b"-1", b" ", b"\t", b",", b"[", b"]" * 50, b"{", b"[" * 5000, b'"', b"\\ud800", b"null",
    "é".encode(), "١".encode(), b"Ambiguous", b"true",
)  # fmt: skip
RESULTS = {
    "version": "1.3", "external_data": {},
    "results": {"video_1": [{"label": "drop", "segment": [1.0, 2.5], "score": 0.9}], "video_2": []},
}  # fmt: skip
VIDEOS = {
    "videos": [
        {"video": "video_1", "detections": [{"label": "drop", "start_s": 1.0, "end_s": 2.5, "score": 0.9}]},
        {"video": "video_2", "detections": []},
    ]
}
TEXT = "video_1 1.0 2.5 1 0.9\nvideo_1 4.0 9.0 2 0.8\nvideo_2 0.5 3.0 3 0.7\n"


def parsers(folder: Path) -> dict[str, tuple[Path, Callable[[], object]]]:
    """For each parser the file that is changed, with its good content, and the function that reads it."""
    found: dict[str, tuple[Path, Callable[[], object]]] = {}
    for name in FORMATS:
        place = folder / (name if name == "thumos" else f"{name}.json")
        write_annotations(place, CLIPS, name, fps=25.0)
        file = place if place.is_file() else place / "drop_test.txt"
        found[name] = file, lambda place=place: read_annotations(place, fps=25.0)
    for name, content in (("results.json", json.dumps(RESULTS)), ("detect.json", json.dumps(VIDEOS)), ("d.txt", TEXT)):
        (folder / name).write_text(content)
        found[f"detections {name}"] = folder / name, lambda file=folder / name: read_detections(file)
    return found


def changed(rng: random.Random, good: bytes, is_json: bool) -> bytes:
    """The content with changed values, where it is JSON, or with changed bytes."""
    if is_json and rng.random() < 0.5:
        content = copy.deepcopy(json.loads(good))
        root = {"root": content}
        for _ in range(rng.choice([1, 1, 2, 5])):
            mutate(rng, root)
        return json.dumps(root.get("root")).encode()
    return change_bytes(rng, good, PIECES)


def campaign(folder: Path, count: int, seed: int = 0) -> dict[str, Tally]:
    """Read `count` changed files with each parser; the tally of each."""
    tallies = {}
    silent, console.say = console.say, lambda *_, **__: None  # thousands of notes
    for name, (file, read) in parsers(folder).items():
        rng, tally, good = random.Random(seed), Tally(), file.read_bytes()
        for number in range(count):
            content = changed(rng, good, file.suffix == ".json")
            file.write_bytes(content)
            failures = len(tally.failures)
            tally.attempt(f"{name} {number}", read)
            if len(tally.failures) > failures:
                (folder / f"failed-{seed}-{number}{file.suffix}").write_bytes(content)
        file.write_bytes(good)
        tallies[name] = tally
    console.say = silent
    return tallies


def main() -> int:
    given = options(__doc__, 10_000).parse_args()
    folder = Path(tempfile.mkdtemp(prefix="annotations-"))
    tallies = campaign(folder, given.count, given.seed)
    return max(finish(tally, name) for name, tally in tallies.items())


if __name__ == "__main__":
    sys.exit(main())
