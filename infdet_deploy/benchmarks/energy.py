"""Joules, where the machine counts them: Linux powercap (RAPL) for the processor, NVML for an NVIDIA GPU."""

import contextlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


class Gpu:
    """What NVML tells of the first NVIDIA GPU. Make it with `open_gpu`."""

    def __init__(self, nvml: Any, device: Any) -> None:
        self._nvml, self._device = nvml, device

    def joules(self) -> float:
        """What it has used since its driver was loaded; 0 where it does not count."""
        try:
            return self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._device) / 1000
        except self._nvml.NVMLError:
            return 0.0

    def state(self) -> dict[str, float]:
        """`sm_mhz`, `memory_mhz`, `watts`, `celsius` at this moment, those that it tells."""
        nvml, found = self._nvml, {}
        readings: dict[str, Callable[[], float]] = {
            "sm_mhz": lambda: nvml.nvmlDeviceGetClockInfo(self._device, nvml.NVML_CLOCK_SM),
            "memory_mhz": lambda: nvml.nvmlDeviceGetClockInfo(self._device, nvml.NVML_CLOCK_MEM),
            "watts": lambda: nvml.nvmlDeviceGetPowerUsage(self._device) / 1000,
            "celsius": lambda: nvml.nvmlDeviceGetTemperature(self._device, nvml.NVML_TEMPERATURE_GPU),
        }
        for name, read in readings.items():
            with contextlib.suppress(nvml.NVMLError):
                found[name] = float(read())
        return found


def open_gpu() -> Gpu | None:
    """The first NVIDIA GPU; None without one, without its driver or without nvidia-ml-py."""
    if importlib.util.find_spec("pynvml") is None:
        return None
    import pynvml

    try:
        pynvml.nvmlInit()
        return Gpu(pynvml, pynvml.nvmlDeviceGetHandleByIndex(0))
    except pynvml.NVMLError:
        return None


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
