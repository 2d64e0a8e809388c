"""`watch` at a terminal: signals that stop it, and a status line for each camera."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from infdet_deploy.console import say
from infdet_deploy.live.camera import Camera


@contextmanager
def stop_signals(stop: threading.Event) -> Iterator[None]:
    """Set `stop` on SIGTERM and SIGINT; a second signal ends the process as usual. Only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, _: FrameType | None) -> None:
        say("stopping: finalising open actions, delivering queued events; repeat the signal to stop at once")
        signal.signal(number, before[signal.Signals(number)])
        stop.set()

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def status_lines(cameras: Sequence[Camera]) -> Iterator[Callable[[], None]]:
    """Show the state of each camera at the bottom of a terminal; yields a function that updates the lines."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(stderr=True), transient=True, auto_refresh=False, redirect_stdout=False) as live:
        yield lambda: live.update(Text("\n".join(map(_status, cameras))), refresh=True)


def _status(camera: Camera) -> str:
    stats, lag = camera.source.stats, camera.lag_s
    behind = "" if lag is None else f", {lag:.1f} s behind"
    events = ", ".join(f"{label} × {count}" for label, count in camera.events.items()) or "no events"
    return f"{camera.name}: {stats.state}, {camera.fps:.1f} frames/s{behind}, {stats.dropped} dropped, {events}"
