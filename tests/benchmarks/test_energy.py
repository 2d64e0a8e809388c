"""Energy from a powercap folder, as Linux lays it out."""

from pathlib import Path

from infdet_deploy.benchmarks.energy import ProcessorEnergy


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
