"""What annotations and detections are made of; times in seconds from the clip's start."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Instance:
    """One annotated action. `where` is the place in the file it was read from, for messages."""

    label: str
    start_s: float
    end_s: float
    where: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True)
class Clip:
    """A video's annotation; `duration_s` and `subset` are None where the format has none. Instances in file order.

    label: the one class that a trimmed clip shows from end to end; empty for clips with timed instances.
    """

    name: str
    duration_s: float | None
    subset: str | None
    instances: tuple[Instance, ...]
    where: str = field(default="", compare=False, repr=False)
    label: str = ""


@dataclass(frozen=True)
class ScoredInstance:
    """One detection in a named video, as detection files hold it; a higher score is surer."""

    video: str
    label: str
    start_s: float
    end_s: float
    score: float
