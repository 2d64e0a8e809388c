"""What this machine can do, and what to install for more."""

import importlib.metadata
import platform
import shutil
from pathlib import Path
from typing import Any

from infdet_deploy import __version__
from infdet_deploy.runtime.backends.registry import backend_names, get_backend
from infdet_deploy.system import cpu_count, cpu_features, processor_name

# package → (extra that brings it, what it is for)
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


def examine() -> dict[str, Any]:
    """A JSON-ready description: machine, backends with their precisions, packages with what would bring them."""
    packages = {}
    for name, (extra, purpose) in PACKAGES.items():
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = None
        hint = f"pip install 'infdet-deploy[{extra}]'" if extra else f"pip install {name}"
        packages[name] = {"version": version, "purpose": purpose, "install": None if version else hint}
    backends = {
        backend.name: {
            "available": backend.is_available(),
            "precisions": [p for p in backend.capabilities.precisions if backend.supports(p)],
            "refused": [p for p in backend.capabilities.precisions if not backend.supports(p)],
        }
        for backend in map(get_backend, backend_names())
    }
    nvidia = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
    return {
        "version": __version__,
        "machine": {
            "processor": processor_name(),
            "cores": cpu_count(),
            "features": [f for f in _CPU_FEATURES if f in cpu_features()],
            "system": platform.platform(),
            "python": platform.python_version(),
            "nvidia_gpu": nvidia,
        },
        "backends": backends,
        "packages": packages,
    }
