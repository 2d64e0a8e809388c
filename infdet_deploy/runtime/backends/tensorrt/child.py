"""Builds in a process of its own: some graphs bring the builder down, and its memory is given back afterwards."""

import importlib
import multiprocessing
import signal
from multiprocessing.connection import Connection
from pathlib import Path

from infdet_deploy.errors import BackendError, InfdetError
from infdet_deploy.runtime.backends.tensorrt.build import Built, build_engine
from infdet_deploy.runtime.backends.tensorrt.options import BuildOptions, Shape


def build_apart(
    package: str,
    onnx: Path,
    shapes: dict[str, tuple[Shape, Shape, Shape]],
    options: BuildOptions,
    timing_cache: Path | None = None,
) -> Built:
    """`build_engine` in a child process; package: `tensorrt` or `tensorrt_rtx`.

    Raises BackendError when the graph does not build, and when the child dies over it.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(theirs, package, onnx, shapes, options, timing_cache))
    child.start()
    theirs.close()
    try:
        answer = ours.recv()
    except EOFError:
        answer = None
    child.join()
    if answer is None:
        code = child.exitcode or 0
        how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        raise BackendError(f"{package} died building {onnx.name} ({how}); the graph or the memory is at fault")
    if isinstance(answer, Exception):
        raise answer
    return answer


def _child(
    pipe: Connection,
    package: str,
    onnx: Path,
    shapes: dict[str, tuple[Shape, Shape, Shape]],
    options: BuildOptions,
    timing_cache: Path | None,
) -> None:
    try:
        pipe.send(build_engine(importlib.import_module(package), onnx, shapes, options, timing_cache))
    except InfdetError as error:
        pipe.send(error)
    except Exception as error:
        pipe.send(BackendError(f"{package} on {onnx.name}: {type(error).__name__}: {' '.join(str(error).split())}"))
