"""An event: one action of one camera, as sinks receive it. It is final."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from infdet_deploy.live.window import Action

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "infdet-deploy/event")


@dataclass(frozen=True)
class Event:
    """An action of a camera.

    Attributes:
        id: a UUID derived from bundle, camera, class, start and end: the same action always has the same id.
        camera: the source's name.
        label: class.
        score: 0–1.
        start, end, emitted: Unix seconds.
        bundle: the bundle's name.
        clip: file name of its clip.
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

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: what sinks send."""
        event: dict[str, Any] = {"id": self.id, "camera": self.camera, "class": self.label}
        event["score"] = round(self.score, 6)
        for name in ("start", "end", "emitted"):
            time = getattr(self, name)
            # local time with its UTC offset, to the millisecond: 2026-11-25T10:49:05.120+00:00
            event[name] = datetime.fromtimestamp(time).astimezone().isoformat(timespec="milliseconds")
            event[f"{name}_unix"] = round(time, 3)
        event |= {"decision_delay_s": round(self.decision_delay_s, 3), "bundle": self.bundle}
        return event | ({"clip": self.clip} if self.clip else {})


def new_event(action: Action, camera: str, bundle: str, emitted: float) -> Event:
    """The event of an action decided at `emitted`, Unix seconds."""
    label = action.detection.label
    identity = uuid.uuid5(_NAMESPACE, f"{bundle}\n{camera}\n{label}\n{action.start:.3f}\n{action.end:.3f}")
    return Event(str(identity), camera, label, action.detection.score, action.start, action.end, emitted, bundle)
