"""Energy from a powercap folder, as Linux lays it out, and from a double of NVML."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from infdet_deploy.benchmarks.energy import EnergyMeter, gpu_counter


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
    meter = EnergyMeter(root=tmp_path)
    meter.start()
    (package / "energy_uj").write_text("100000")  # restarted
    (memory / "energy_uj").write_text("500100")
    assert meter.stop() == {"processor": (700_000 + 500_000) / 1e6}


def test_a_machine_without_counters(tmp_path):
    meter = EnergyMeter(root=tmp_path)
    meter.start()
    assert meter.stop() == {}


class Nvml(ModuleType):
    """As many GPUs as `counters`, each with its energy in millijoules; None for one that does not count it."""

    class NVMLError(Exception):
        pass

    def __init__(self, *counters: int | None) -> None:
        super().__init__("pynvml")
        self.__spec__ = object()  # so that it counts as installed
        self.counters = counters

    def nvmlInit(self):
        pass

    def nvmlDeviceGetHandleByIndex(self, index):
        if index >= len(self.counters):
            raise self.NVMLError
        return index

    def nvmlDeviceGetTotalEnergyConsumption(self, device):
        if self.counters[device] is None:
            raise self.NVMLError
        return self.counters[device]


@pytest.mark.parametrize(("counters", "joules"), [((412_500,), 412.5), ((None,), None), ((), None)])
def test_a_gpu(monkeypatch, tmp_path, counters, joules):
    monkeypatch.setitem(sys.modules, "pynvml", Nvml(*counters))
    counter = gpu_counter()
    assert (counter and counter()) == joules
    meter = EnergyMeter(gpu=True, root=tmp_path)
    meter.start()
    assert meter.stop() == ({} if joules is None else {"gpu": 0.0})
