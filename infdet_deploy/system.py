"""What the system tells about its processor, and what this process takes of it."""

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
    """The instruction sets that the processor offers, by the names Linux gives them; empty where it does not tell."""
    return {feature for line in _values("flags", "Features") for feature in line.split()}


def has_exact_int8() -> bool:
    """Whether sums of int8 products do not overflow: x86 needs VNNI for that, older instructions saturate at 16 bits.
    True where the system does not say."""
    features = cpu_features()
    return "ssse3" not in features or not features.isdisjoint(("avx512_vnni", "avx_vnni"))


def peak_memory_bytes() -> int:
    """The most memory that this process has held so far."""
    # What getrusage tells of a process includes what its parent held when it was started; VmHWM is its own.
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def trim_memory() -> None:
    """Give memory that is free inside this process back to the system, where the C library can (glibc)."""
    # Left to itself glibc keeps what lies between blocks in use: hundreds of megabytes beside a large network.
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _values(*keys: str) -> list[str]:
    """What /proc/cpuinfo, where there is one, says under these keys."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
    return [line.split(":", 1)[1].strip() for line in lines if line.startswith(keys)]
