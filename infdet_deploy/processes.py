"""Run a function on many inputs in several processes, and start processes that ignore Ctrl-C."""

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any

from infdet_deploy.system import cpu_count

_PR_SET_PDEATHSIG = 1


def in_processes(
    function: Callable[..., Any],
    jobs: Sequence[tuple[Any, ...]],
    workers: int | None = None,
    initializer: Callable[..., None] | None = None,
    initargs: tuple[Any, ...] = (),
) -> Iterator[tuple[int, Any]]:
    """Call `function(*job)` for every job. Yields each job's index and result in the order they finish.

    function: a top-level function of a module with picklable arguments and results. workers: number of processes,
    default: one per CPU; each calls `initializer(*initargs)` first. An error in a job is raised and cancels the others.
    The processes end with this one, also when it is killed.
    """
    if not jobs:
        return
    workers = min(workers or cpu_count(), len(jobs))
    begin = (os.getpid(), initializer, initargs)
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin, begin) as pool:
        waiting = {pool.submit(function, *job): index for index, job in enumerate(jobs)}
        try:
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _begin(parent: int, initializer: Callable[..., None] | None, initargs: tuple[Any, ...]) -> None:
    """Runs first in each process."""
    end_with(parent)
    if initializer is not None:
        initializer(*initargs)


def end_with(parent: int) -> None:
    """Have the system kill this process when its parent ends, however that happens. On Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it has already ended
            os._exit(1)


def start_ignoring_sigint(process: BaseProcess) -> None:
    """Start a child that ignores SIGINT; the parent must stop it.

    Call it in the main thread. Raises KeyboardInterrupt after the start if Ctrl-C was pressed during the start.
    """
    resource_tracker.ensure_running()  # its own start would unblock SIGINT
    received: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: received.append(number))  # an interrupted start leaks
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # the child inherits the mask
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    if received:
        raise KeyboardInterrupt
