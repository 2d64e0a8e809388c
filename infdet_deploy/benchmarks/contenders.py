"""Which contenders `bench` measures: backends of the runtime, networks in PyTorch, or both."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from infdet_deploy.bundle.loading import Bundle
from infdet_deploy.errors import UsageError
from infdet_deploy.precision import parse_precisions
from infdet_deploy.runtime.backends.base import Performance
from infdet_deploy.runtime.backends.contender import Contender
from infdet_deploy.runtime.backends.registry import available_backends, backend_names, get_backend

EAGER = "eager"  # the original network in eager PyTorch (eager.py)
CUDA = "cuda"  # as a backend: every kind of cuda.py, each a contender `cuda-KIND`
CUDA_KINDS = ("eager", "compile")
CUDA_PRECISIONS = ("float16", "bfloat16", "float32")  # `all` means the first


def cuda_kind(backend: str) -> str:
    """KIND of a backend `cuda-KIND`; empty for any other backend."""
    family, _, kind = backend.partition("-")
    return kind if family == CUDA else ""


def runs_on_gpu(backend: str) -> bool:
    """Whether a contender's backend computes on an NVIDIA GPU."""
    return bool(cuda_kind(backend)) or (backend in backend_names() and get_backend(backend).capabilities.on_gpu)


def caches_stages(backend: str) -> bool:
    """Whether a contender's backend keeps compiled stages for the next start."""
    return backend in backend_names() and get_backend(backend).capabilities.caches


def has_gpu() -> bool:
    """Whether an NVIDIA driver is installed here."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def contenders(
    bundle: Bundle, backend: str = "openvino", precision: str = "all", performance: Performance = "latency"
) -> list[Contender]:
    """The contenders that a request names.

    backend, precision: comma-separated names, or `all`. `all` leaves out what the bundle does not contain or this
    machine cannot run. Raises UsageError for a name that does not exist or cannot run here.
    """
    wanted, named = parse_precisions(precision), backend != "all"
    if named:
        names = backend.split(",")
    else:
        names = [b.name for b in available_backends() if performance == "latency" or b.capabilities.throughput]
        names += [CUDA] if performance == "latency" and has_gpu() else []
    found = []
    for name in names:
        if name == CUDA:
            found += _cuda_contenders(wanted, performance, named)
        else:
            found += _runtime_contenders(bundle, name, wanted, performance, named)
    if not found:
        raise UsageError(f"{bundle.path}: no contender for backend {backend} and precision {precision}")
    return found


def _runtime_contenders(
    bundle: Bundle, name: str, wanted: Sequence[str] | None, performance: Performance, named: bool
) -> list[Contender]:
    if name not in backend_names():
        raise UsageError(f"no backend '{name}'; backends are {', '.join((*backend_names(), CUDA))}, or all")
    backend = get_backend(name)
    backend.check_performance(performance)
    contained = bundle.precisions_as(backend.capabilities.format)
    usable = [precision for precision in contained if backend.supports(precision)]
    found = []
    for precision in usable if wanted is None else wanted:
        if precision in usable:
            files = [bundle.stage_file(stage, precision, backend.capabilities.format) for stage in bundle.stages]
            if named or all(backend.is_ready(file, precision) for file in files):
                found.append(Contender(name, precision))
        elif named:
            if precision in contained:
                backend.check_supports(precision)
            raise UsageError(f"{bundle.path} has no {precision} for {name}; it has {', '.join(usable) or 'none'}")
    return found


def _cuda_contenders(wanted: Sequence[str] | None, performance: Performance, named: bool) -> list[Contender]:
    if not has_gpu():
        raise UsageError("--backend cuda: this machine has no NVIDIA GPU, or its driver is not installed")
    if performance != "latency":
        raise UsageError("cuda has no throughput mode; use openvino, or leave performance out")
    precisions = [p for p in (wanted or CUDA_PRECISIONS[:1]) if p in CUDA_PRECISIONS]
    if named and wanted is not None and len(precisions) < len(wanted):
        raise UsageError(f"cuda supports {', '.join(CUDA_PRECISIONS)}, not all of {', '.join(wanted)}")
    return [Contender(f"{CUDA}-{kind}", precision) for precision in precisions for kind in CUDA_KINDS]
