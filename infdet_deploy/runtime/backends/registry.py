"""All backends by name: the built-in ones, and those from other packages.

A package registers a backend in its pyproject.toml; the entry point is the Backend class or an instance:

    [project.entry-points."infdet_deploy.backends"]
    mybackend = "mypackage.backend:MyBackend"
"""

import sys
import warnings
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from infdet_deploy.errors import BackendError, UsageError, first_line
from infdet_deploy.runtime.backends.base import Backend, CompiledStage, StageSource

GROUP = "infdet_deploy.backends"
_PACKAGE = "infdet_deploy.runtime.backends"
_BUILT_IN = {
    "openvino": "openvino:OpenVino",
    "onnxruntime": "onnxruntime:OnnxRuntime",
    "torchscript": "torchscript:TorchScript",
    "tensorrt": "tensorrt.backend:TensorRt",
}
_loaded: dict[EntryPoint | str, Backend] = {}


def backend_names() -> tuple[str, ...]:
    """The names of all backends, installed or not: built-in ones first, then registered ones."""
    return tuple(dict.fromkeys((*_BUILT_IN, *sorted(_registered(tuple(sys.path))))))


def get_backend(name: str) -> Backend:
    """The backend of this name. Raises UsageError for an unknown name, BackendError if a package registered an object
    that is not a backend."""
    if name in _BUILT_IN:
        if name not in _loaded:
            module, _, kind = _BUILT_IN[name].partition(":")
            _loaded[name] = getattr(import_module(f"{_PACKAGE}.{module}"), kind)()
        return _loaded[name]
    entry = _registered(tuple(sys.path)).get(name)
    if entry is None:
        raise UsageError(f"no backend '{name}'; backends are {', '.join(backend_names())}")
    if entry not in _loaded:
        _loaded[entry] = _load(entry)
    return _loaded[entry]


def available_backends() -> list[Backend]:
    """Every installed backend. A registered backend that does not load is skipped with a warning."""
    found = []
    for name in backend_names():
        try:
            backend = get_backend(name)
        except BackendError as error:
            warnings.warn(str(error), stacklevel=2)
        else:
            found += [backend] if backend.is_available() else []
    return found


def is_available(name: str) -> bool:
    """Whether there is a backend of this name and its package is installed."""
    return name in backend_names() and get_backend(name).is_available()


def open_stage(
    backend: str, path: Path, precision: str, inputs: tuple[str, ...], outputs: tuple[str, ...]
) -> CompiledStage:
    """Compile a stage's file outside a bundle, for latency; raises as `get_backend` and `Backend.open_stage`."""
    return get_backend(backend).open_stage(StageSource(path, precision, inputs, outputs))


@cache
def _registered(path: tuple[str, ...]) -> dict[str, EntryPoint]:
    """path: where distributions are searched. Cached, because reading them takes milliseconds."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _load(entry: EntryPoint) -> Backend:
    where = f"backend {entry.name}, which {entry.dist.name if entry.dist else entry.value} registers,"
    try:
        found = entry.load()
        backend = found() if isinstance(found, type) else found
    except Exception as error:
        raise BackendError(f"{where} does not load: {first_line(error)}") from error
    if not isinstance(backend, Backend):
        raise BackendError(f"{where} is {entry.value}, expected a subclass of {Backend.__module__}.Backend")
    backend.name = entry.name
    return backend
