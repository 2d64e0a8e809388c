"""Energy counters: Linux powercap (RAPL) for the processor, NVML for the first NVIDIA GPU."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
UNAVAILABLE = "not available on this machine"


class ProcessorEnergy:
    """The counters of all processor packages and of their memory; idle power and other programs are included."""

    def __init__(self, root: Path = POWERCAP) -> None:
        zones = [zone for zone in sorted(root.glob("intel-rapl:*")) if _text(zone / "name").startswith("package")]
        zones += [zone for package in zones for zone in sorted(package.glob("*")) if _text(zone / "name") == "dram"]
        # on many systems only the administrator may read the counters
        self._zones = [zone for zone in zones if _text(zone / "energy_uj")]

    def read(self) -> tuple[int, ...]:
        """The counters in microjoules; empty where there are none."""
        return tuple(int(_text(zone / "energy_uj") or 0) for zone in self._zones)

    def joules(self, before: tuple[int, ...], after: tuple[int, ...]) -> float | None:
        """Energy between two readings, in which a counter may have restarted once; None without counters."""
        total = 0
        for zone, first, last in zip(self._zones, before, after, strict=True):
            total += last - first + (int(_text(zone / "max_energy_range_uj") or 0) if last < first else 0)
        return total / 1e6 if self._zones else None


def gpu_counter() -> Callable[[], float] | None:
    """A function that returns the first NVIDIA GPU's joules since its driver was loaded; None without a counter."""
    if importlib.util.find_spec("pynvml") is None:
        return None
    import pynvml

    try:
        pynvml.nvmlInit()
        device = pynvml.nvmlDeviceGetHandleByIndex(0)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(device)
    except pynvml.NVMLError:
        return None
    return lambda: float(pynvml.nvmlDeviceGetTotalEnergyConsumption(device) / 1000)


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
