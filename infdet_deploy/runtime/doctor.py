"""What this machine can run, and what to install for more."""

import importlib.metadata
import platform
import shutil
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infdet_deploy import __version__
from infdet_deploy.bundle.pretrained import PRETRAINED
from infdet_deploy.config import to_dict
from infdet_deploy.errors import InfdetError
from infdet_deploy.runtime.backends.base import Backend
from infdet_deploy.runtime.backends.registry import backend_names, get_backend
from infdet_deploy.runtime.detector import Detector
from infdet_deploy.system import cpu_count, cpu_features, processor_name
from infdet_deploy.video.sample import sample_frames

MEASURE_S = 2.0  # how long the speed of each backend is measured, at most
MEASURED_FRAMES = 400
_MEASURED = ("openvino", "onnxruntime")

# package → (extra that installs it, purpose)
PACKAGES = {
    "openvino": ("", "inference on CPUs (default backend)"),
    "onnxruntime": ("onnxruntime", "inference with ONNX Runtime"),
    "torch": ("train", "training, export, verify"),
    "opencv-contrib-python-headless": ("train", "TV-L1 flow for training, the synthetic dataset"),
    "onnx": ("export", "export to ONNX"),
    "onnxscript": ("export", "export to ONNX"),
    "tensorrt": ("tensorrt", "engines for this machine's NVIDIA GPU"),
    "cuda-python": ("tensorrt", "running engines"),
    "nvidia-ml-py": ("gpu", "clocks, power and energy of a GPU in `bench`"),
    "tensorrt-rtx-cu13": ("tensorrt-rtx", "engines for RTX GPUs, built on any machine"),
    "cptv": ("thermal", ".cptv thermal recordings"),
    "tifffile": ("thermal", "16-bit TIFF stacks"),
    "matplotlib": ("plot", "pictures of detections"),
    "paho-mqtt": ("live", "events of `watch` over MQTT"),
    "prometheus-client": ("live", "metrics of `watch`"),
    "model-signing": ("sign", "signing bundles, checking signatures"),
}
_CPU_FEATURES = (
    "avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16",  # x86
    "asimddp", "i8mm", "bf16",  # ARM
)  # fmt: skip


@dataclass(frozen=True)
class Machine:
    """features: instruction sets that speed up inference, such as `avx512_vnni`."""

    processor: str
    cores: int
    features: tuple[str, ...]
    system: str
    python: str
    nvidia_gpu: bool


@dataclass(frozen=True)
class BackendState:
    """available: its package is installed. refused: precisions that it computes wrongly on this processor.
    frames_per_s: of the pretrained network in float32, from frames to scores; None where it was not measured. error:
    why a measurement failed."""

    available: bool
    precisions: tuple[str, ...]
    refused: tuple[str, ...]
    frames_per_s: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Package:
    """version: None if it is not installed; then install is the command that does it."""

    version: str | None
    purpose: str
    install: str | None


@dataclass(frozen=True)
class Examination:
    """The machine, and the backends and optional packages by name. version: of infdet-deploy."""

    version: str
    machine: Machine
    backends: dict[str, BackendState]
    packages: dict[str, Package]

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return to_dict(self)


def examine(measure: bool = True) -> Examination:
    """Examine this machine, the backends and the optional packages.

    measure: also measure the speed of the backends that run a bundle as it is, a few seconds each.
    """
    features = cpu_features()
    machine = Machine(
        processor=processor_name(),
        cores=cpu_count(),
        features=tuple(feature for feature in _CPU_FEATURES if feature in features),
        system=platform.platform(),
        python=platform.python_version(),
        nvidia_gpu=Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None,
    )
    backends = {name: _backend(get_backend(name), measure) for name in backend_names()}
    return Examination(__version__, machine, backends, {name: _package(name) for name in PACKAGES})


def _backend(backend: Backend, measure: bool) -> BackendState:
    precisions = backend.capabilities.precisions
    supported = tuple(precision for precision in precisions if backend.supports(precision))
    refused, available = tuple(p for p in precisions if p not in supported), backend.is_available()
    if not (measure and available and backend.name in _MEASURED):
        return BackendState(available, supported, refused)
    try:
        return BackendState(available, supported, refused, _speed(backend.name))
    except InfdetError as error:
        return BackendState(available, supported, refused, error=str(error))


def _speed(backend: str) -> float:
    """Frames per second of the pretrained network, the median of runs on one clip."""
    with Detector(PRETRAINED, backend) as detector:
        frames = sample_frames(MEASURED_FRAMES, detector.bundle.size)
        detector.scores(frames)
        seconds: list[float] = []
        while sum(seconds) < MEASURE_S and len(seconds) < 20:
            begun = time.perf_counter()
            detector.scores(frames)
            seconds.append(time.perf_counter() - begun)
    return MEASURED_FRAMES / statistics.median(seconds)


def _package(name: str) -> Package:
    extra, purpose = PACKAGES[name]
    try:
        return Package(importlib.metadata.version(name), purpose, None)
    except importlib.metadata.PackageNotFoundError:
        return Package(None, purpose, f"pip install 'infdet-deploy[{extra}]'" if extra else f"pip install {name}")
