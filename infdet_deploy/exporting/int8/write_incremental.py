"""Write the incremental towers in int8, with the layers and scales of the whole towers.

OpenVINO's file has 3D operators (`incremental_3d.py`), except with `conv2d`: OpenVINO copies the shifted inputs of the
2D operators one by one, which costs a tenth of an int8 tower's time.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx

from infdet_deploy.bundle.schema import TOWERS, stream_stage
from infdet_deploy.bundle.tolerances import tolerance
from infdet_deploy.errors import ParityError
from infdet_deploy.exporting.bundle_draft import Draft
from infdet_deploy.exporting.checks import Tensors, check_2d, check_precision
from infdet_deploy.exporting.incremental.write import incremental_3d_graph, incremental_errors
from infdet_deploy.exporting.int8.quantization import INT8_FILES, quantize, transfer_scales
from infdet_deploy.exporting.int8.stage import Int8Stage
from infdet_deploy.runtime.backends.registry import open_stage


def write_int8_incremental(draft: Draft, stages: Mapping[str, Int8Stage]) -> None:
    """Write TOWER_stream.int8.onnx and TOWER_stream.int8.openvino.onnx, and their manifest entries.

    stages: as returned by `write_int8`. Raises ParityError where the features' error on the stages' `measured` clips is
    above int8's tolerance. `from_whole` in the manifest is the error relative to the int8 features of the whole clip.
    """
    folder, stream = draft.folder, draft.manifest["stream"]
    allowed = tolerance("onnx", "int8")
    for tower in (name for name in stages if name in TOWERS):
        name, stage = stream_stage(tower), stages[tower]
        entry = stream["stages"][name]
        in_2d = transfer_scales(stage.graph, onnx.load(str(folder / f"{name}.float32.onnx")))
        graphs = {"onnx": in_2d, "openvino": in_2d}
        if draft.manifest["operators"] == "3d":
            graphs["openvino"] = transfer_scales(stage.graph, incremental_3d_graph(folder, tower, draft.network))
        result: dict[str, Any] = {"float32_layers": {}, "from_whole": {}}
        for file in INT8_FILES:
            draft.report(f"{name} int8 {file.backend}")
            path, graph = folder / file.name(name), graphs[file.format]
            kept = [layer.replace(tower, name, 1) for layer in stage.kept[file.format]]
            onnx.save(quantize(graph, kept, file.unsigned), str(path))
            if graph is in_2d:
                check_2d(name, path)
            result[file.operators] = check_precision(name, path, "int8", len(kept))
            result["float32_layers"][file.format] = kept
            error = max(incremental_errors(path, "int8", entry, stream, stage.measured, file.backend))
            if not error <= allowed:
                raise ParityError(
                    f"{name} int8: relative L2 {error:.2e} on {file.backend}, allowed {allowed:.0e}; nothing was "
                    "written: calibrate on more clips, or export without int8"
                )
            whole = _whole(folder / file.name(tower), file.backend, stage.measured)
            result[file.format] = error
            result["from_whole"][file.format] = max(
                incremental_errors(path, "int8", entry, stream, whole, file.backend)
            )
            entry["files"].setdefault(file.format, {})["int8"] = path.name
        draft.manifest["parity"]["int8"][name] = result


def _whole(path: Path, backend: str, clips: Sequence[Tensors]) -> list[Tensors]:
    """The clips with the features that the tower's int8 file computes for them."""
    (name,) = (name for name in clips[0] if name != "features")
    runner = open_stage(backend, path, "int8", (name,), ("features",))
    results: list[Tensors] = [{**clip, **runner.run({name: clip[name]})} for clip in clips]
    runner.close()
    return results
