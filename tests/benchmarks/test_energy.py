"""Energy from a powercap folder, as Linux lays it out, and from a double of NVML."""

import sys
from pathlib import Path
from types import ModuleType

from infdet_deploy.benchmarks.energy import ProcessorEnergy, open_gpu


def _zone(folder: Path, name: str, microjoules: int) -> Path:
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text("1000000\n")
    return folder


def test_packages_and_their_memory(tmp_path):
    package = _zone(tmp_path / "intel-rapl:0", "package-0", 400_000)
    memory = _zone(package / "intel-rapl:0:1", "dram", 100)
    _zone(package / "intel-rapl:0:0", "core", 7)  # part of the package
    _zone(tmp_path / "intel-rapl:1", "psys", 7)  # contains the package
    meter = ProcessorEnergy(tmp_path)
    assert meter.available
    before = meter.read()
    assert before == (400_000, 100)
    (package / "energy_uj").write_text("100000")  # began anew
    (memory / "energy_uj").write_text("500100")
    assert meter.joules(before, meter.read()) == (700_000 + 500_000) / 1e6


def test_a_machine_that_does_not_tell(tmp_path):
    assert not ProcessorEnergy(tmp_path / "none").available
    assert ProcessorEnergy(tmp_path).joules((), ()) == 0


class Nvml(ModuleType):
    """A GPU that counts no energy and tells its clocks, power and temperature."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    class NVMLError(Exception):
        pass

    def __init__(self, devices: int) -> None:
        super().__init__("pynvml")
        self.__spec__ = object()  # so that it counts as installed
        self.devices = devices

    def nvmlInit(self):
        pass

    def nvmlDeviceGetHandleByIndex(self, index):
        if index >= self.devices:
            raise self.NVMLError
        return index

    def nvmlDeviceGetTotalEnergyConsumption(self, device):
        raise self.NVMLError

    def nvmlDeviceGetClockInfo(self, device, which):
        return {1: 1980, 2: 2619}[which]

    def nvmlDeviceGetPowerUsage(self, device):
        return 412_500

    def nvmlDeviceGetTemperature(self, device, which):
        return 61


def test_a_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", Nvml(1))
    gpu = open_gpu()
    assert gpu.state() == {"sm_mhz": 1980, "memory_mhz": 2619, "watts": 412.5, "celsius": 61}
    assert gpu.joules() == 0
    monkeypatch.setitem(sys.modules, "pynvml", Nvml(0))
    assert open_gpu() is None
