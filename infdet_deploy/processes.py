"""The same work on many things, in several processes."""

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any

from infdet_deploy.system import cpu_count


def in_processes(
    function: Callable[..., Any],
    jobs: Sequence[tuple[Any, ...]],
    workers: int | None = None,
    first: Callable[..., None] | None = None,
    arguments: tuple[Any, ...] = (),
) -> Iterator[tuple[int, Any]]:
    """`function(*job)` for every job; yields each job's index and result, in the order in which they finish.

    workers: processes, as many as there are CPUs by default; each calls first(*arguments) when it starts. function must
    be a module's own, arguments and results such as can be pickled. An error in one job is raised here, and ends the
    others.
    """
    if not jobs:
        return
    workers = min(workers or cpu_count(), len(jobs))
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), first, arguments) as pool:
        waiting = {pool.submit(function, *job): index for index, job in enumerate(jobs)}
        try:
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def start_deaf(process: BaseProcess) -> None:
    """Start a process that Ctrl-C does not reach, from its first instruction on; its parent hears it, and ends it.

    Only the main thread may call this. Raises KeyboardInterrupt, after the start, for a Ctrl-C during it.
    """
    resource_tracker.ensure_running()  # it lets Ctrl-C through again once it has started its own process
    heard: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: heard.append(number))  # half a start could not be undone
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which the child inherits
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    if heard:
        raise KeyboardInterrupt
