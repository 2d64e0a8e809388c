"""The towers as steps in int8: what the whole towers have in int8, with their scales.

OpenVINO's have 3D operators (`conv3d_steps.py`), in a bundle that may have them: it copies a layer's shifted inputs one
by one, and in int8, where the products are soon done, slow memory makes that a tenth of the time.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from infdet_deploy.bundle.loading import TOWERS, stream_stage
from infdet_deploy.bundle.tolerances import tolerance
from infdet_deploy.errors import ParityError
from infdet_deploy.exporting.incremental import build_tower_stream, stream_spec
from infdet_deploy.exporting.incremental_bundle import stepped_errors, write_steps
from infdet_deploy.exporting.int8 import carry, insert
from infdet_deploy.exporting.int8_bundle import WRITTEN_FOR, int8_file
from infdet_deploy.exporting.onnx import check_2d, check_precision
from infdet_deploy.exporting.sensitivity import UNSIGNED, Int8Stage
from infdet_deploy.model.network import InfDetNet
from infdet_deploy.runtime.backends.registry import open_stage

Tensors = Mapping[str, np.ndarray]


def add_int8_stream(
    folder: Path,
    manifest: dict[str, Any],
    network: InfDetNet,
    stages: Mapping[str, Int8Stage],
    report: Callable[[str], None],
) -> None:
    """Write TOWER_stream.int8.onnx from the float32 steps in `folder`, and TOWER_stream.int8.openvino.onnx; complete
    the manifest.

    network: the bundle's. stages: as `add_int8` gives them; layers, scales and what is in float32 are theirs. Raises
    ParityError where the error of the features, on the clips that the stages were measured on, is above int8's
    tolerance. `from_whole` in the manifest is their error from the int8 features of the whole clip.
    """
    stream = manifest["stream"]
    for tower in (name for name in stages if name in TOWERS):
        name, stage = stream_stage(tower), stages[tower]
        entry = stream["stages"][name]
        flat = carry(stage.plan, onnx.load(str(folder / f"{name}.float32.onnx")))
        plans = {"onnx": flat, "openvino": flat}
        if manifest["operators"] == "3d":
            plans["openvino"] = carry(stage.plan, steps_in_3d(folder, tower, network))
        found: dict[str, Any] = {"float32_layers": {}, "from_whole": {}}
        for form, backend in WRITTEN_FOR.items():
            report(f"{name} int8 {backend}")
            file = folder / int8_file(name, form)
            kept = [layer.replace(tower, name, 1) for layer in stage.kept[backend]]
            onnx.save(insert(plans[form], set(plans[form].layers) - set(kept), UNSIGNED[backend]), str(file))
            if plans[form] is flat:
                check_2d(name, file)
            operators = "operators" if form == "onnx" else f"operators_{form}"
            found[operators] = check_precision(name, file, "int8", len(kept))
            found["float32_layers"][form] = kept
            found[form] = max(stepped_errors(file, "int8", entry, stream, stage.measured, backend))
            if not found[form] <= (allowed := tolerance("onnx", "int8")):
                raise ParityError(
                    f"{name} int8: relative L2 {found[form]:.2e} on {backend}, allowed {allowed:.0e}; nothing was "
                    "written: calibrate on more clips, or export without --int8"
                )
            whole = _whole(folder / int8_file(tower, form), backend, stage.measured)
            found["from_whole"][form] = max(stepped_errors(file, "int8", entry, stream, whole, backend))
            entry["files"].setdefault(form, {})["int8"] = file.name
        manifest["parity"]["int8"][name] = found


def steps_in_3d(folder: Path, tower: str, network: InfDetNet) -> onnx.ModelProto:
    """A tower's float32 steps with 3D operators. No file of them stays in `folder`."""
    stage = build_tower_stream(tower, network, torch.float32, in_3d=True)
    with tempfile.TemporaryDirectory(dir=folder) as passing:
        file = Path(passing) / "steps.onnx"
        write_steps(stream_stage(tower), stage, stream_spec(stage, network), file)
        return onnx.load(str(file))


def _whole(file: Path, backend: str, clips: Sequence[Tensors]) -> Sequence[Tensors]:
    """The clips with the features that a tower's file gives for the whole of each."""
    (name,) = (name for name in clips[0] if name != "features")
    runner = open_stage(backend, file, "int8", (name,), ("features",))
    found: list[Tensors] = [{**clip, **runner.run({name: clip[name]})} for clip in clips]
    runner.close()
    return found
