"""Output for people and programs: results go to stdout, notes and progress to stderr."""

import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from typing import Any, Protocol

from infdet_deploy.text import visible

FIRST_LINE_S = 0.5  # a request that is refused within this time prints its error alone
LINE_INTERVAL_S = 15.0  # between lines of progress, where there is no terminal


def set_quiet() -> None:
    """Print no notes and no progress from now on, in this process and its children."""
    os.environ["INFDET_QUIET"] = "1"


def is_quiet() -> bool:
    return os.environ.get("INFDET_QUIET") == "1"


def say(text: str) -> None:
    """Print a note on stderr, in one line, unless the user wants quiet."""
    if not is_quiet():
        print(visible(text), file=sys.stderr, flush=True)


class OnProgress(Protocol):
    """Called with the steps done, all steps and the current step."""

    def __call__(self, done: int, total: int, text: str = "", /) -> None: ...


@contextmanager
def progress(label: str, wanted: bool = True) -> Iterator[OnProgress]:
    """Show progress on stderr: a bar on a terminal, elsewhere a line after half a second and then every 15 s.

    wanted: False in every process of a group except the main one. Yields a function to call with each step.
    """
    if not wanted or is_quiet():
        yield lambda done, total, text="", /: None
        return
    with (_bar if sys.stderr.isatty() else _lines)(label) as update:
        yield update


@contextmanager
def _bar(label: str) -> Iterator[OnProgress]:
    from rich import progress as rich
    from rich.console import Console

    steps, times = (rich.BarColumn(), rich.MofNCompleteColumn()), (rich.TimeElapsedColumn(), rich.TimeRemainingColumn())
    columns = (rich.TextColumn("{task.description}", markup=False), *steps, times[0], "left", times[1])
    # Where stdout is a terminal, printed lines go above the bar; otherwise straight to their file or pipe.
    above = sys.stdout.isatty()
    with rich.Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=above) as bar:
        task = bar.add_task(label, total=None)

        def update(done: int, total: int, text: str = "", /) -> None:
            bar.update(task, completed=done, total=total, description=visible(f"{label} {text}".strip()))

        yield update


@contextmanager
def _lines(label: str) -> Iterator[OnProgress]:
    """Lines from a thread of their own, so that a step of several minutes is not silent."""
    start, state = time.monotonic(), (0, 0, "")
    ended = threading.Event()

    def update(done: int, total: int, text: str = "", /) -> None:
        nonlocal state
        state = (done, total, text)

    def repeat() -> None:
        if not ended.wait(FIRST_LINE_S):
            say(f"{label or 'working'} …")
        while not ended.wait(LINE_INTERVAL_S):
            say(progress_line(label, *state, time.monotonic() - start))

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield update
    finally:
        ended.set()
        thread.join()


def progress_line(label: str, done: int, total: int, text: str, elapsed_s: float) -> str:
    """ "export fen float16: 3/12, 0:45 elapsed, 2:15 left"; the time left where a step is done."""
    what, counted = f"{label} {text}".strip() or "working", f"{done}/{total}, " if total else ""
    left = f", {clock(elapsed_s * (total - done) / done)} left" if 0 < done <= total else ""
    return f"{what}: {counted}{clock(elapsed_s)} elapsed{left}"


def clock(seconds: float) -> str:
    """Seconds as M:SS or H:MM:SS."""
    minutes, second = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{second:02d}" if minutes >= 60 else f"{minutes}:{second:02d}"


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], notes: str = "") -> None:
    """Print a table on stdout: title above, numbers aligned right, notes below."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    view = Table(box=box.SIMPLE_HEAD)
    for index, column in enumerate(columns):
        numeric = all(row[index][:1].isdigit() or row[index] in ("", "–") for row in rows)
        view.add_column(Text(visible(column)), justify="right" if numeric else "left", no_wrap=True)
    for row in rows:
        view.add_row(*(Text(visible(cell)) for cell in row))
    print("\n".join(map(visible, title.split("\n"))))
    console.print(view, end="")
    if notes:
        print(notes)


def print_json(value: Any) -> None:
    """Print one JSON object on stdout; NaN and infinity become null."""
    print(json.dumps(finite(value), indent=2, allow_nan=False))


def finite(value: Any) -> Any:
    """The value with None instead of NaN and infinity, which JSON cannot represent."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value
