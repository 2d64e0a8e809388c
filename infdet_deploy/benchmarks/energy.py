"""Energy counters: Linux powercap (RAPL) for the processor, NVML for the first NVIDIA GPU."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
UNAVAILABLE = "not available on this machine"


class EnergyMeter:
    """Joules between `start` and `stop`; idle power and other programs are included.

    gpu: also measure the first NVIDIA GPU. root: the powercap folder.
    """

    def __init__(self, gpu: bool = False, root: Path = POWERCAP) -> None:
        zones = [zone for zone in sorted(root.glob("intel-rapl:*")) if _text(zone / "name").startswith("package")]
        zones += [zone for package in zones for zone in sorted(package.glob("*")) if _text(zone / "name") == "dram"]
        # on many systems only the administrator may read the counters
        self._zones = [zone for zone in zones if _text(zone / "energy_uj")]
        self._gpu = gpu_counter() if gpu else None

    def start(self) -> None:
        self._before = [_number(zone / "energy_uj") for zone in self._zones]
        self._gpu_before = self._gpu() if self._gpu else 0.0

    def stop(self) -> dict[str, float]:
        """By `processor` (its packages and their memory) and `gpu`, as far as there are counters."""
        used = {"gpu": self._gpu() - self._gpu_before} if self._gpu else {}
        total = 0
        for zone, before in zip(self._zones, self._before, strict=True):
            after = _number(zone / "energy_uj")
            total += after - before
            if after < before:  # the counter restarted
                total += _number(zone / "max_energy_range_uj")
        return used | {"processor": total / 1e6} if self._zones else used


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


def _number(file: Path) -> int:
    return int(_text(file) or 0)


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
