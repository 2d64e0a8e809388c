"""The interface of a sink."""

from abc import ABC, abstractmethod
from typing import Any


class Sink(ABC):
    """A receiver of events. Each sink has its own queue on disk and its own thread; others do not wait for it.

    name: identifies its queue; the same after a restart.
    """

    name: str

    @abstractmethod
    def deliver(self, event: dict[str, Any]) -> None:
        """Return when the receiver has stored the event. After any exception the same event is delivered again.

        event: as `Event.to_dict`. A receiver may get the same event, with the same id, more than once.
        """

    def camera_available(self, camera: str, available: bool) -> None:  # noqa: B027 - most sinks ignore it
        """Called when a camera starts or stops sending pictures."""

    def close(self) -> None:  # noqa: B027 - not every sink has connections
        """Close connections."""
