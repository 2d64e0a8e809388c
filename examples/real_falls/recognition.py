"""Which action does a segment show? Each person left out in turn: python recognition.py PUBLISHED WORK.

Every annotated segment becomes a trimmed clip of one of seven classes. A network is trained on the segments of all
people but one, and classifies the segments of that person. The result with five classes counts `sit`, `stand` and `lie`
as one class, `still`.
"""

import argparse
import dataclasses
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from data_set import ACTIONS, Recording, Segment, days_in, read_annotated
from numpy.typing import NDArray

from infdet_deploy import InfdetError, ThermalArray, TrainOptions, read_video, train
from infdet_deploy.console import say
from infdet_deploy.model import presets
from infdet_deploy.snippets import MIN_FRAMES

TAGS = ACTIONS | {name: name for name in ("sit", "stand", "lie")} | {f"walk{n}": "walk" for n in ("", "1", "2")}
STILL = ("sit", "stand", "lie")
FPS = 12.0
# Segments are cut from levels that are relative to the whole recording's background: in a segment of 2 s, a person who
# lies still would be background.
NETWORK = dataclasses.replace(presets.preset("array"), levels="range", frame_rate=None)
SETTINGS = {"batch": 16, "window_frames": 48, "learning_rate": 2e-3, "rotate": True, "jitter": 0.2}

Confusion = Counter[tuple[str, str]]  # true class, predicted class


def segment_frames(recording: Recording, segments: list[Segment]) -> Iterator[tuple[Segment, NDArray[np.uint8]]]:
    """Each segment's grey levels, uint8 [T, 16, 16], 12 a second; the last frame is repeated up to 16 frames."""
    array = ThermalArray(recording.frames, recording.times_s, name=recording.name)
    video = read_video(array, levels="background", frame_rate=FPS)
    times_s = video.timestamps_s - video.timestamps_s[0]
    for segment in segments:
        frames = video.frames[(times_s >= segment.start_s) & (times_s < segment.end_s)]
        if len(frames):
            missing = max(0, MIN_FRAMES - len(frames))
            yield segment, np.pad(frames, ((0, missing), (0, 0), (0, 0)), mode="edge")


def make_clips(published: Path, out: Path) -> None:
    """Write every segment as OUT/PERSON/CLASS/NAME.npz; errors of `read_annotated`."""
    for day in days_in(published):
        for recording, segments in read_annotated(published, day):
            known = [segment for segment in segments if segment.label in TAGS]
            for number, (segment, frames) in enumerate(segment_frames(recording, known)):
                folder = out / segment.person / TAGS[segment.label]
                folder.mkdir(parents=True, exist_ok=True)
                np.savez(folder / f"{recording.name}_{number}.npz", frames=frames, times_s=np.arange(len(frames)) / FPS)


def leave_out(clips: Path, person: str, data: Path) -> None:
    """A data set whose test clips are one person's and whose training clips are everybody else's, as links."""
    for folder in sorted(clips.glob("*/*")):
        subset = "testing" if folder.parent.name == person else "training"
        target = data / subset / folder.name
        target.mkdir(parents=True, exist_ok=True)
        for clip in folder.iterdir():
            link = target / f"{folder.parent.name}_{clip.name}"
            link.unlink(missing_ok=True)
            link.symlink_to(clip.resolve())


def run(published: Path, work: Path, steps: int, seed: int) -> Confusion:
    """The confusion of all people, each left out once. Finished people in WORK are kept."""
    presets.PRESETS["segments"] = NETWORK
    clips, total = work / "clips", Confusion()
    if not clips.is_dir():
        make_clips(published, clips)
    for person in sorted(folder.name for folder in clips.iterdir()):
        file = work / f"person-{person}-{seed}.json"
        if not file.is_file():
            say(f"person {person} left out, seed {seed}")
            leave_out(clips, person, work / "data" / person)
            options = TrainOptions(
                preset="segments", task="recognition", streams="infrared", steps=steps, seed=seed, settings=SETTINGS,
                out=work / "runs" / f"{person}-{seed}",
            )  # fmt: skip
            found = train(work / "data" / person, options).test
            assert found is not None  # every person has test clips
            file.write_text(json.dumps(found["confusion"], indent=1) + "\n", encoding="utf-8")
        for label, row in json.loads(file.read_text(encoding="utf-8")).items():
            total.update({(label, other): count for other, count in row.items()})
    return total


def accuracy(confusion: Confusion) -> float:
    return sum(count for (label, other), count in confusion.items() if label == other) / confusion.total()


def joined(confusion: Confusion) -> Confusion:
    """Five classes of seven."""
    total = Confusion()
    for pair, count in confusion.items():
        label, other = ("still" if name in STILL else name for name in pair)
        total[label, other] += count
    return total


def table(confusion: Confusion) -> str:
    """A Markdown table: a row for each true class, a column for each predicted one."""
    classes = sorted({name for pair in confusion for name in pair})
    lines = [["", *classes], ["---", *["---:"] * len(classes)]]
    lines += [[label, *(str(confusion[label, other]) for other in classes)] for label in classes]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Classify the segments of people who were not trained on.")
    parser.add_argument("published", type=Path, help="the published folder")
    parser.add_argument("work", type=Path, help="clips, runs and results; finished people in it are kept")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        confusion = run(options.published, options.work, options.steps, options.seed)
    except InfdetError as error:
        parser.exit(error.exit_status, f"{error}\n")
    for found in (confusion, joined(confusion)):
        print(f"{len({label for label, _ in found})} classes: accuracy {accuracy(found):.4f}\n\n{table(found)}\n")


if __name__ == "__main__":
    main()
