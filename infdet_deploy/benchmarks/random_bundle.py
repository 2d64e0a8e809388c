"""A preset's network with seeded random weights as a bundle in the user's cache, exported by a child process."""

import shutil
from concurrent.futures import BrokenExecutor
from pathlib import Path

from infdet_deploy.bundle.loading import Bundle, load_bundle
from infdet_deploy.console import progress, say
from infdet_deploy.errors import InfdetError, missing_package
from infdet_deploy.files import user_cache
from infdet_deploy.model.presets import preset
from infdet_deploy.precision import Precision, parse_precisions
from infdet_deploy.processes import in_processes
from infdet_deploy.runtime.backends.registry import backend_names, get_backend, is_available


def random_bundle(preset_name: str, precision: str = "float32", backend: str = "openvino") -> Bundle:
    """Load the preset's bundle; export it first if it or a precision is missing.

    precision, backend: comma-separated, or `all`. int8 needs onnxruntime; `all` leaves int8 out if onnxruntime is
    missing or no backend supports int8. Raises UsageError for an unknown preset or precision.
    """
    preset(preset_name)
    wanted = _precisions(precision, backend)
    path = user_cache() / f"{preset_name}-random-3.infdet"
    if path.is_dir():
        try:
            bundle = load_bundle(path)
        except InfdetError as error:
            say(f"exporting again: {error}")
            shutil.rmtree(path, ignore_errors=True)
        else:
            if set(wanted) <= set(bundle.precisions):
                say(f"measuring preset {preset_name} with seeded random weights, from {path}")
                return bundle
    say(f"exporting preset {preset_name} with seeded random weights ({', '.join(wanted)}) to {path}")
    try:
        # in a child process, so that PyTorch's memory and threads end with it
        list(in_processes(_export, [(preset_name, path, wanted)], 1))
    except BrokenExecutor:
        raise InfdetError(f"the export of preset {preset_name} died; the system may be out of memory") from None
    return load_bundle(path)


def _precisions(precision: str, backend: str) -> tuple[Precision, ...]:
    names = backend_names() if backend == "all" else [name for name in backend.split(",") if name in backend_names()]
    wanted = parse_precisions(precision)
    if wanted is None:  # float16 is for GPUs
        int8 = is_available("onnxruntime") and any(get_backend(name).supports("int8") for name in names)
        return ("float32", "bfloat16", "int8") if int8 else ("float32", "bfloat16")
    if "int8" in wanted:
        if not is_available("onnxruntime"):
            raise missing_package("onnxruntime", "onnxruntime", "int8 of a preset")
        if backend != "all" and "openvino" in names:
            get_backend("openvino").check_supports("int8")  # before minutes of export
    return wanted


def _export(preset_name: str, path: Path, precisions: tuple[Precision, ...]) -> None:
    from infdet_deploy.exporting.random_bundle import export_random

    with progress("export") as update:
        export_random(preset_name, path, precisions, update)
