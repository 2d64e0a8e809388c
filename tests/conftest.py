"""A small network with seeded random weights, and its bundles, made once for all tests."""

import dataclasses
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from infdet_deploy.detections import DetectionRule
from tests.processor import HAS_INT8, WITHOUT

# Where several processes run tests, each of them, and each process that it starts, computes in one thread.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# The tests do not touch the user's cache; only the tests of the cache turn it on.
os.environ["INFDET_CACHE"] = "0"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start files with slow tests first, so that no process works alone at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


# CI installs what these tests need: there, a missing tool fails them instead of skipping them.
REQUIRED_IN_CI = ("tests/cpp/", "tests/live/sinks/")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    if os.environ.get("CI") and report.skipped and item.nodeid.startswith(REQUIRED_IN_CI):
        reason = str(report.longrepr)
        if "not installed" in reason or "not built" in reason:
            report.outcome, report.longrepr = "failed", f"skipped in CI, where it must run: {reason}"
    return report


COMMAND = (sys.executable, "-m", "infdet_deploy.cli")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny_network():
    """Preset `tiny` at half its width with random weights; the attention's γ is not 0, as after training."""
    torch = pytest.importorskip("torch")
    from infdet_deploy.model.presets import preset
    from infdet_deploy.model.weights import random_network

    network = random_network(dataclasses.replace(preset("tiny"), channel_divisor=8), seed=5)
    with torch.no_grad():
        network.fusion.gamma.fill_(0.7)
    return network


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The path that `make(path)` writes; the first test process makes it, the others reuse it."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    shared.mkdir(exist_ok=True)
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / name).exists():
            make(shared / name)
    return shared / name


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory, tiny_network) -> Path:
    """The network's bundle: float32 and float16, ONNX and TorchScript. Do not change it: use `bundle_copy`."""
    from infdet_deploy.exporting.bundle import export_bundle
    from infdet_deploy.exporting.options import ExportOptions, Origin

    options = ExportOptions(("float32", "float16"), incremental=False)
    origin = Origin(DetectionRule((0.45, 0.5, 0.55), (0.2, 0.2, 0.2)), source="tests")
    return made_once(tmp_path_factory, "tiny.infdet", lambda out: export_bundle(tiny_network, out, options, origin))


@pytest.fixture(scope="session")
def stream_bundle(tmp_path_factory: pytest.TempPathFactory, tiny_network) -> Path:
    """The network's bundle in float32 with its incremental towers. Do not change it."""
    from infdet_deploy.exporting.bundle import export_bundle
    from infdet_deploy.exporting.options import ExportOptions

    options = ExportOptions(formats=("onnx",), weights=False)
    return made_once(tmp_path_factory, "stream.infdet", lambda out: export_bundle(tiny_network, out, options))


# A layer that stays float32 for ONNX Runtime in the towers of `int8_stream_bundle`.
INT8_KEPT = "infrared_tower/Mixed_4c/b1b/Conv"


@pytest.fixture(scope="session")
def int8_stream_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network of one stream with its incremental towers, in float32 and int8. Do not change it."""
    pytest.importorskip("torch")
    pytest.importorskip("onnxruntime")
    if not HAS_INT8:
        pytest.skip(WITHOUT)
    from infdet_deploy.exporting.bundle import export_bundle
    from infdet_deploy.exporting.int8 import write as write_int8
    from infdet_deploy.exporting.int8.calibration import Calibration
    from infdet_deploy.exporting.int8.quantization import Int8File
    from infdet_deploy.exporting.options import ExportOptions
    from infdet_deploy.model.presets import preset
    from infdet_deploy.model.weights import random_network
    from infdet_deploy.video import Video
    from infdet_deploy.video.sample import sample_frames

    def write(stage: write_int8.Int8Stage, file: Int8File, folder: Path, allowed: float) -> float:
        kept = [layer for layer in stage.graph.layers if layer == INT8_KEPT and file.backend == "onnxruntime"]
        return stage.write_keeping(file, folder, kept)

    def make(out: Path) -> None:
        config = dataclasses.replace(preset("tiny"), channel_divisor=8, streams="infrared", fusion="self")
        clips = [sample_frames(64, 64, seed=seed) for seed in (1, 2)]
        recordings = ((Video("clip", clips[1], 25.0, 64 / 25), None),)
        calibration = Calibration("tests", tuple(clips), (clips[1],), recordings)
        with pytest.MonkeyPatch.context() as patch:
            # measuring each layer's own error is slow; tests/exporting/test_int8.py tests it
            patch.setattr(write_int8, "layer_errors", lambda graph, *_: dict.fromkeys(graph.layers, 0.0))
            patch.setattr(write_int8.Int8Stage, "write", write)
            options = ExportOptions(("float32", "int8"), formats=("onnx",), weights=False)
            export_bundle(random_network(config, seed=5), out, options, calibration=calibration)

    return made_once(tmp_path_factory, "int8_stream.infdet", make)


@pytest.fixture(scope="session")
def nine_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine synthetic clips of 10 s at 8 frames/s, one of each class for testing. Do not change it: copy it."""
    from infdet_deploy.synthetic.dataset import SynthesizeOptions, synthesize

    shape = {"clips": 9, "size": (64, 64), "fps": 8, "clip_s": (10, 10), "test_share": 1 / 3}
    return made_once(tmp_path_factory, "nine_clips", lambda out: synthesize(out, SynthesizeOptions(**shape)))


@pytest.fixture
def bundle_copy(tmp_path: Path, tiny_bundle: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "copy.infdet"))


@pytest.fixture(scope="session")
def clip_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lossless video of 60 moving frames, 25 a second."""
    from tests.video.recordings import moving_scene, write_video

    return write_video(tmp_path_factory.mktemp("clip") / "clip.mkv", moving_scene(60), "ffv1", "gray")


@pytest.fixture(scope="session")
def tiny_clip() -> Callable[[int], NDArray[np.uint8]]:
    """`tiny_clip(T)`: uint8 [T, 64, 64]."""
    from infdet_deploy.video.sample import sample_frames

    return lambda frames: sample_frames(frames, 64, seed=5)


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`command("detect", …)`: run the command line in an empty folder, with its own cache."""

    def run(
        *arguments: object, cwd: Path | None = None, timeout_s: float | None = 500
    ) -> subprocess.CompletedProcess[str]:
        work = cwd or tmp_path / "work"
        work.mkdir(exist_ok=True)
        paths = os.pathsep.join(filter(None, (str(Path.cwd()), os.environ.get("PYTHONPATH"))))
        environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": paths}
        line = [*COMMAND, *map(str, arguments)]
        return subprocess.run(line, cwd=work, env=environment, capture_output=True, text=True, timeout=timeout_s)

    return run
