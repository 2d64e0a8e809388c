"""What this machine can run, and what to install for more."""

import importlib.metadata
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infdet_deploy import __version__
from infdet_deploy.config import to_dict
from infdet_deploy.runtime.backends.base import Backend
from infdet_deploy.runtime.backends.registry import backend_names, get_backend
from infdet_deploy.system import cpu_count, cpu_features, processor_name

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
    """available: its package is installed. refused: precisions that it computes wrongly on this processor."""

    available: bool
    precisions: tuple[str, ...]
    refused: tuple[str, ...]


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


def examine() -> Examination:
    """Examine this machine, the backends and the optional packages."""
    features = cpu_features()
    machine = Machine(
        processor=processor_name(),
        cores=cpu_count(),
        features=tuple(feature for feature in _CPU_FEATURES if feature in features),
        system=platform.platform(),
        python=platform.python_version(),
        nvidia_gpu=Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None,
    )
    backends = {name: _backend(get_backend(name)) for name in backend_names()}
    return Examination(__version__, machine, backends, {name: _package(name) for name in PACKAGES})


def _backend(backend: Backend) -> BackendState:
    precisions = backend.capabilities.precisions
    supported = tuple(precision for precision in precisions if backend.supports(precision))
    return BackendState(backend.is_available(), supported, tuple(p for p in precisions if p not in supported))


def _package(name: str) -> Package:
    extra, purpose = PACKAGES[name]
    try:
        return Package(importlib.metadata.version(name), purpose, None)
    except importlib.metadata.PackageNotFoundError:
        return Package(None, purpose, f"pip install 'infdet-deploy[{extra}]'" if extra else f"pip install {name}")
