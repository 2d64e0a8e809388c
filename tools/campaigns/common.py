"""What all campaigns share: many inputs for one function, which must accept or refuse each in time and in one line."""

import argparse
import faulthandler
import random
import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from infdet_deploy.errors import InfdetError
from infdet_deploy.text import visible  # as the command line prints it

LIMIT_S = 10.0  # for one input
MAX_MESSAGE = 1000  # characters; a message that quotes a whole file helps nobody
ACCEPTED, REFUSED = "accepted", "refused"
Accepts = Callable[[Path], tuple[bool, str]]  # the verdict of another reader, and its message


@dataclass
class Tally:
    """Counts of a campaign. failures: crashes, hangs and messages that are not one line, one text each."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    longest_s: float = 0.0

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items()))
        return f"{self.counts.total()} inputs: {counts}; {len(self.failures)} failures; longest {self.longest_s:.2f} s"

    def attempt(self, name: str, act: Callable[[], object]) -> str | None:
        """Call `act` for the input `name`; returns None if it was accepted, else the message."""
        begun, message = time.monotonic(), None
        try:
            with _time_limit():
                act()
        except InfdetError as error:
            message = str(error)
            if visible(message).splitlines() != [visible(message)] or len(message) > MAX_MESSAGE:
                self.failures.append(f"{name}: the message is not one short line: {message[:300]!r}")
        except BaseException as error:  # a crash of any type is what is looked for
            if isinstance(error, KeyboardInterrupt):
                raise
            self.failures.append(f"{name}: {traceback.format_exc()}")
            message = f"crashed: {type(error).__name__}"
        self.longest_s = max(self.longest_s, time.monotonic() - begun)
        self.counts[ACCEPTED if message is None else message if message.startswith("crashed") else REFUSED] += 1
        return message


@contextmanager
def _time_limit() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"more than {LIMIT_S:g} s")

    previous = signal.signal(signal.SIGALRM, stop)
    faulthandler.dump_traceback_later(3 * LIMIT_S, exit=True)  # native code that never returns ends the campaign
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def change_bytes(rng: random.Random, data: bytes, pieces: tuple[bytes, ...] = (b"\0", b"\xff" * 4)) -> bytes:
    """The data with 1 to 8 changes: a bit flipped, bytes overwritten, removed, doubled or inserted, or the end cut."""
    text = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        at = rng.randrange(len(text)) if text else 0
        length = rng.choice([1, 4, 16, 40, 400])
        kind = rng.randrange(12)
        if kind < 4 and text:
            text[at] ^= 1 << rng.randrange(8)
        elif kind < 6:
            text[at : at + length] = rng.randbytes(len(text[at : at + length]))
        elif kind < 8:
            del text[at : at + length]
        elif kind < 9:
            text[at:at] = text[at : at + length]
        elif kind < 11:
            text[at:at] = rng.choice(pieces)
        else:
            del text[at:]
    return bytes(text)


def options(text: str, default_count: int) -> argparse.ArgumentParser:
    """The options of every campaign: --count and --seed. text: the campaign's description."""
    faulthandler.enable()  # a crash in native code shows where
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--count", type=int, default=default_count, help="inputs [default: %(default)s]")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def run_with_library(
    text: str | None, name: str, bundle: str, campaign: Callable[[Path, int, int, Accepts | None], Tally]
) -> int:
    """Run a campaign on a bundle folder, with --library also through the C++ library; returns the exit status."""
    parser = options(text or "", 10_000)
    parser.add_argument("--library", type=Path, help="libinfdet_parity.so, to compare the verdicts")
    given = parser.parse_args()
    accepts = None
    if given.library is not None:
        from tests.cpp.parity import Parity

        accepts = Parity(given.library).accepts
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-")) / bundle
    return finish(campaign(folder, given.count, given.seed, accepts), name)


def finish(tally: Tally, name: str) -> int:
    """Print the counts and the first failures; returns the exit status, 1 if there are failures."""
    print(f"{name}: {tally}")
    for failure in tally.failures[:10]:
        print(failure)
    return 1 if tally.failures else 0
