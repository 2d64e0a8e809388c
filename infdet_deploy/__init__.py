"""Infrared temporal action detection: train, export, verify, benchmark, run.

>>> from infdet_deploy import Detector
>>> for action in Detector("NAME.infdet").detect("night.mp4"):
...     print(action.label, action.start_s, action.end_s, action.score)

The names below are the public API. Each is imported when it is first used, so that `import infdet_deploy` is quick and
a machine that only runs bundles needs no torch.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Detector": "runtime.detector",
    "Detection": "detections",
    "DetectionRule": "detections",
    "load_bundle": "bundle.loading",
    "read_video": "video",
    "Video": "video",
    "read_annotations": "datasets.annotations",
    "evaluate": "evaluation.average_precision",
    "InfdetError": "errors",
}
__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'infdet_deploy' has no attribute '{name}'")
    return getattr(importlib.import_module(f"infdet_deploy.{_PUBLIC[name]}"), name)
