"""Joules, where the machine counts them: Linux powercap (RAPL) for the processor, NVML for an NVIDIA GPU."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
NOT_TOLD = "this machine does not tell"


class ProcessorEnergy:
    """The counters of all processor packages, and of their memory where it is counted apart.

    What they count is the whole package: idle power and other programs' share are in it.
    """

    def __init__(self, root: Path = POWERCAP) -> None:
        packages = [zone for zone in sorted(root.glob("intel-rapl:*")) if _name(zone).startswith("package")]
        memory = [
            zone for package in packages for zone in sorted(package.glob("intel-rapl:*")) if _name(zone) == "dram"
        ]
        self._zones = [zone for zone in (*packages, *memory) if _number(zone / "energy_uj") is not None]

    @property
    def available(self) -> bool:
        return bool(self._zones)

    def read(self) -> tuple[int, ...]:
        """The counters in microjoules, as they stand; empty where there are none."""
        return tuple(_number(zone / "energy_uj") or 0 for zone in self._zones)

    def joules(self, before: tuple[int, ...], after: tuple[int, ...]) -> float:
        """What was used between two readings, of which a counter may have begun anew once."""
        total = 0
        for zone, first, last in zip(self._zones, before, after, strict=True):
            total += last - first if last >= first else last - first + (_number(zone / "max_energy_range_uj") or 0)
        return total / 1e6


def gpu_energy() -> Callable[[], float] | None:
    """A function that gives the joules that the first NVIDIA GPU has used since its driver was loaded; None without."""
    if importlib.util.find_spec("pynvml") is None:
        return None
    import pynvml

    try:
        pynvml.nvmlInit()
        device = pynvml.nvmlDeviceGetHandleByIndex(0)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(device)
    except pynvml.NVMLError:
        return None
    return lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(device) / 1000


def _name(zone: Path) -> str:
    try:
        return (zone / "name").read_text().strip()
    except OSError:
        return ""


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # only the administrator may read the counters on many systems
        return None
