"""An event: an action of one camera as the world is told of it. Made once, never revised."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from infdet_deploy.live.window import Found

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "infdet-deploy/event")


@dataclass(frozen=True)
class Event:
    """id: a UUID made of the other fields but `emitted`, so that the same action has the same id however often it is
    sent; start, end, emitted: Unix seconds; score: 0–1; bundle: the bundle's name; clip: file name of its clip, if any.
    """

    id: str
    camera: str
    label: str
    score: float
    start: float
    end: float
    emitted: float
    bundle: str
    clip: str | None = None

    @property
    def decision_delay_s(self) -> float:
        """Seconds from the action's end to the event."""
        return self.emitted - self.end

    def to_json(self) -> dict[str, Any]:
        """What the sinks send."""
        event: dict[str, Any] = {"id": self.id, "camera": self.camera, "class": self.label}
        event["score"] = round(self.score, 6)
        for name, time in (("start", self.start), ("end", self.end), ("emitted", self.emitted)):
            event[name] = iso8601(time)
            event[f"{name}_unix"] = round(time, 3)
        event["decision_delay_s"] = round(self.decision_delay_s, 3)
        event["bundle"] = self.bundle
        return event | ({"clip": self.clip} if self.clip else {})


def new_event(found: Found, camera: str, bundle: str, emitted: float) -> Event:
    """The event of an action that has just been decided, at `emitted` Unix seconds."""
    label = found.detection.label
    identity = uuid.uuid5(_NAMESPACE, f"{bundle}\n{camera}\n{label}\n{found.start:.3f}\n{found.end:.3f}")
    return Event(str(identity), camera, label, found.detection.score, found.start, found.end, emitted, bundle)


def iso8601(time: float) -> str:
    """Unix seconds as local time with its UTC offset, to the millisecond: 2026-11-25T10:49:05.120+00:00."""
    return datetime.fromtimestamp(time).astimezone().isoformat(timespec="milliseconds")
