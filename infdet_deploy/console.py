"""Talking to the person at the terminal: results go to stdout, notes and progress to stderr."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isfinite
from typing import Any


def say(text: str) -> None:
    """A note for the person at the terminal, on stderr."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def progress(label: str, wanted: bool = True) -> Iterator[Callable[..., None]]:
    """A progress bar on stderr, where one is wanted; yields update(done, total, text='')."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    shown = wanted and console.is_terminal
    # What is printed meanwhile goes above the bar where both are on a terminal, else straight to its file or pipe.
    with Progress(
        *columns, console=console, transient=True, disable=not shown, redirect_stdout=sys.stdout.isatty()
    ) as bar:
        task = bar.add_task(label, total=None)

        def update(done: int, total: int, text: str = "") -> None:
            bar.update(task, completed=done, total=total, description=f"{label} {text}".strip())

        yield update


def table(title: str, columns: list[str], rows: list[list[str]], notes: str = "") -> None:
    """Print a table on stdout: the title above, numbers to the right, notes below."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    view = Table(box=box.SIMPLE_HEAD)
    for index, column in enumerate(columns):
        numeric = all(row[index][:1].isdigit() or row[index] in ("", "–") for row in rows)
        view.add_column(column, justify="right" if numeric else "left", no_wrap=True)
    for row in rows:
        view.add_row(*map(Text, row))
    print(title)
    console.print(view, end="")
    if notes:
        print(notes)


def print_json(value: Any) -> None:
    """One JSON object on stdout; NaN and infinity, which JSON has not, are null."""
    print(json.dumps(finite(value), indent=2, allow_nan=False))


def finite(value: Any) -> Any:
    """A JSON-ready value with null in the place of NaN and infinity."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value
