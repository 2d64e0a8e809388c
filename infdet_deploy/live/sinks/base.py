"""The interface of a sink."""

from abc import ABC, abstractmethod
from typing import Any


class Sink(ABC):
    """A receiver of events. Each sink has its own queue on disk and its own thread, and fails alone.

    name: identifies its queue; the same after a restart.
    """

    name: str

    @abstractmethod
    def deliver(self, event: dict[str, Any]) -> None:
        """Return when the receiver has stored the event; raise anything if it may not have. The same event may be
        delivered again.

        event: as `Event.to_dict`.
        """

    def camera_available(self, camera: str, available: bool) -> None:  # noqa: B027 - most sinks ignore it
        """A camera sends pictures again, or no longer."""

    def close(self) -> None:  # noqa: B027 - not every sink has connections
        """Close connections."""
