"""Run a bundle's golden clip in a child process with limited time and memory, to judge a bundle from elsewhere.

The child opens every ONNX stage on every backend here and compares its outputs with the golden clip. Whatever a graph
does there, such as an endless computation, a huge tensor or a crash of the backend, ends with the child. TorchScript
stages are programs and are left out. The limits are no sandbox: the child has the user's rights.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from infdet_deploy.bundle.manifest import short
from infdet_deploy.config import from_dict, to_dict
from infdet_deploy.errors import ConfigError, InfdetError, UsageError, one_line, reason

_MAX_WRITTEN = 1_000_000  # bytes that the child may write to one file: its report is far smaller
_MAX_FAILURES = 20  # listed; the rest are counted


@dataclass(frozen=True)
class TrialBudget:
    """The limits of `trial_run`. memory_gb: of the child's own data, 10⁹ bytes each. Raises UsageError."""

    time_s: float = 120.0
    memory_gb: float = 8.0

    def __post_init__(self) -> None:
        if not (0 < self.time_s <= 86_400 and 0 < self.memory_gb <= 10_000):
            raise UsageError(
                f"the budget is {self.time_s:g} s and {self.memory_gb:g} GB, expected up to 86400 s and 10000 GB"
            )


@dataclass(frozen=True)
class TrialRun:
    """The result of `trial_run`.

    comparisons: number of stages and of whole clips compared, on each backend in each precision. backends: their names.
    failures: one line each; empty if all outputs are those of the golden clip. time_s: of the child. peak_mb: the
    child's memory; None if it did not report it.
    """

    comparisons: int
    backends: tuple[str, ...]
    failures: tuple[str, ...]
    time_s: float
    peak_mb: float | None = None

    @property
    def passed(self) -> bool:
        return self.comparisons > 0 and not self.failures

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return to_dict(self) | {"passed": self.passed}

    def __str__(self) -> str:
        """One line."""
        if not self.passed:
            more = f" (and {len(self.failures) - 1} more)" if len(self.failures) > 1 else ""
            return f"the trial run failed: {self.failures[0] if self.failures else 'no stage was run'}{more}"
        memory = "" if self.peak_mb is None else f", {self.peak_mb:.0f} MB"
        ran = f"{self.comparisons} comparisons on {', '.join(self.backends)} in {self.time_s:.1f} s{memory}"
        return f"{ran}; all give the golden clip's outputs"


@dataclass(frozen=True)
class _Report:
    """What the child reports, as JSON. It is read strictly, because the child ran foreign graphs."""

    comparisons: int
    backends: tuple[str, ...]
    failures: tuple[str, ...]
    peak_mb: float


def trial_run(bundle: Path | str, budget: TrialBudget | None = None) -> TrialRun:
    """Run every ONNX stage of a bundle on its golden clip, in a child process. On Linux only.

    Nothing of the bundle runs in the calling process. Raises InfdetError on other systems.
    """
    if sys.platform != "linux":
        raise InfdetError("a trial run needs Linux, whose limits of time and memory it uses")
    budget, begun = budget or TrialBudget(), time.monotonic()
    with tempfile.TemporaryFile() as report:
        status = _run_child(Path(bundle), budget, report)
        time_s = time.monotonic() - begun
        report.seek(0)
        text = report.read(_MAX_WRITTEN)
    if status is None:
        return _failed(f"it takes more than {budget.time_s:g} s; allow more with --time-limit", time_s)
    if status == 0:
        try:
            found = from_dict(_Report, json.loads(text.splitlines()[-1]))
        except (ConfigError, ValueError, IndexError, RecursionError):
            return _failed("the child process sent no report", time_s)
        failures = tuple(short(one, 400) for one in found.failures[: _MAX_FAILURES + 1])
        return TrialRun(found.comparisons, tuple(map(short, found.backends)), failures, time_s, found.peak_mb)
    how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    return _failed(
        f"the process crashed ({how}): a fault of a backend, or above {budget.memory_gb:g} GB of memory", time_s
    )


def _failed(why: str, time_s: float) -> TrialRun:
    return TrialRun(0, (), (why,), time_s)


def _run_child(bundle: Path, budget: TrialBudget, report: IO[bytes]) -> int | None:
    """The child's exit status, or None after it was stopped because its time was up."""
    memory = int(budget.memory_gb * 1e9)
    # -P: do not import modules from the current folder, where a bundle may have left some
    line = [sys.executable, "-P", "-m", __name__, os.path.abspath(bundle), str(memory), str(os.getpid())]
    child = subprocess.Popen(
        line, stdin=subprocess.DEVNULL, stdout=report, stderr=subprocess.DEVNULL, start_new_session=True,
        env=os.environ | {"INFDET_CACHE": "0"},
    )  # fmt: skip
    try:
        return child.wait(budget.time_s)
    except subprocess.TimeoutExpired:
        return None
    finally:  # also its children, and after Ctrl-C
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _limit(memory: int) -> None:
    """Limit this process: its data, and no files but a short report."""
    import resource

    for kind, value in (
        (resource.RLIMIT_DATA, memory), (resource.RLIMIT_FSIZE, _MAX_WRITTEN), (resource.RLIMIT_CORE, 0),
    ):  # fmt: skip
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def _compare(path: Path) -> Iterator[tuple[str, str]]:
    """The backend of each comparison, and why it failed or an empty text."""
    from infdet_deploy.bundle.loading import load_bundle
    from infdet_deploy.runtime.backends.registry import get_backend
    from infdet_deploy.verification.end_to_end import end_to_end, sample_clips
    from infdet_deploy.verification.references import contenders_of, golden_references
    from infdet_deploy.verification.stages import stage_parity

    bundle = load_bundle(path)
    references = golden_references(bundle)
    contenders = [one for one in contenders_of(bundle)[0] if get_backend(one.backend).capabilities.format == "onnx"]
    for row in stage_parity(bundle, references, contenders=contenders):
        far = f"relative L2 {row.relative_l2:.2g} from the golden clip, allowed {row.tolerance:.2g}"
        yield row.backend, "" if row.passed else f"{row.backend} {row.stage} {row.precision}: {row.error or far}"
    for end in end_to_end(bundle, contenders, sample_clips(bundle, references)):
        far = f"scores differ by {end.max_abs:.2g} from the golden clip, allowed {end.tolerance:.2g}"
        yield end.backend, "" if end.passed else f"{end.backend} {end.precision}: {end.error or far}"


def _child(bundle: str, memory: str, parent: str) -> None:
    from infdet_deploy.processes import end_with
    from infdet_deploy.system import peak_memory_bytes

    end_with(int(parent))
    _limit(int(memory))

    backends: dict[str, None] = {}
    comparisons, failures = 0, []
    try:
        for backend, failure in _compare(Path(bundle)):
            comparisons += 1
            backends[backend] = None
            failures += [failure] if failure else []
    except Exception as error:  # of whatever type: nothing here may end without a report
        failures.append(one_line(error) or f"{type(error).__name__}: {reason(error)}")
    peak_mb = peak_memory_bytes() / 1e6
    print(
        json.dumps({"comparisons": comparisons, "backends": list(backends), "failures": failures, "peak_mb": peak_mb})
    )
    sys.stdout.flush()
    os._exit(0)  # the backends' threads and destructors are not waited for


if __name__ == "__main__":
    _child(*sys.argv[1:])
