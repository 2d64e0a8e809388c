"""The processor, and the memory of this process."""

import contextlib
import ctypes
import os
import platform
import resource
import sys
from pathlib import Path


def cpu_count() -> int:
    """CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor_name() -> str:
    """The processor's name."""
    return next(iter(_values("model name", "Model")), platform.processor() or platform.machine())


def cpu_features() -> set[str]:
    """The processor's instruction sets by their Linux names; empty if unknown."""
    return {feature for line in _values("flags", "Features") for feature in line.split()}


def has_exact_int8() -> bool:
    """Whether sums of int8 products are exact; without VNNI, x86 saturates them at 16 bits. True if unknown."""
    features = cpu_features()
    return "ssse3" not in features or not features.isdisjoint(("avx512_vnni", "avx_vnni"))


def peak_memory_bytes() -> int:
    """The peak memory of this process."""
    # getrusage includes the parent's memory at the start of this process; VmHWM does not.
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def trim_memory() -> None:
    """Return free memory to the system, if the C library can (glibc)."""
    # glibc keeps free memory between blocks in use: hundreds of megabytes with a large network.
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _values(*keys: str) -> list[str]:
    """The values of these keys in /proc/cpuinfo, if it exists."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
    return [line.split(":", 1)[1].strip() for line in lines if line.startswith(keys)]
