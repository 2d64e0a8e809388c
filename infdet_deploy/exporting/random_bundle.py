"""A preset's network with seeded random weights as a bundle: for measuring speed, where no weights are needed."""

import os
import shutil
from pathlib import Path

import onnx

from infdet_deploy.bundle.loading import NETWORK, load_bundle
from infdet_deploy.bundle.manifest import MANIFEST, read_manifest
from infdet_deploy.exporting.bundle import export_bundle
from infdet_deploy.exporting.draft import Draft, OnProgress, Origin
from infdet_deploy.exporting.int8_stage import Int8Stage
from infdet_deploy.exporting.options import ExportOptions
from infdet_deploy.exporting.quantization import INT8_FILES, calibrate
from infdet_deploy.exporting.specs import stage_specs
from infdet_deploy.exporting.write_int8 import enter_file, float32_tensors
from infdet_deploy.exporting.write_int8_incremental import write_int8_incremental
from infdet_deploy.files import whole_folder
from infdet_deploy.model.presets import preset
from infdet_deploy.model.weights import random_network
from infdet_deploy.video.sample import sample_frames

CLIPS, CLIP_FRAMES = 2, 24  # that int8 is calibrated on; a stage of the paper's size needs some GB for 100 frames


def export_random(
    preset_name: str,
    path: Path,
    precisions: tuple[str, ...],
    on_progress: OnProgress | None = None,
    incremental: bool = False,
) -> None:
    """Write the bundle at `path` in float32 and `precisions`; the precisions that it has already stay in it.

    incremental: a new bundle gets incremental towers too.
    """
    ready = load_bundle(path).precisions if path.is_dir() else ()
    wanted = {"float32", *ready, *precisions}
    floats = tuple(p for p in ("float32", "bfloat16", "float16") if p in wanted)
    if not set(floats) <= set(ready):
        options = ExportOptions(floats, formats=("onnx",), incremental=incremental, weights=False)
        origin = Origin(source="seeded random weights")
        export_bundle(random_network(preset(preset_name)), path, options, origin, on_progress=on_progress)
        ready = floats
    if "int8" in wanted and "int8" not in ready:
        _add_int8(path, preset_name, on_progress)


def _add_int8(path: Path, preset_name: str, on_progress: OnProgress | None) -> None:
    """Add int8 stages with as many int8 layers as possible. Their accuracy is not checked: the weights are random."""
    bundle, network, manifest = load_bundle(path), random_network(preset(preset_name)), read_manifest(path)
    manifest["parity"]["int8"] = {name: {"float32_layers": {}} for name in bundle.stages}
    manifest["int8"] = {
        "calibration": "seeded random frames and weights: for measuring speed only, accuracy was not checked",
        "calibration_frames": CLIPS * CLIP_FRAMES,
    }
    specs = {name: spec for name, spec in stage_specs(network).items() if name != NETWORK}
    stages: dict[str, Int8Stage] = {}
    with whole_folder(path) as folder:
        for file in path.iterdir():
            if file.name != MANIFEST:
                try:
                    os.link(file, folder / file.name)
                except OSError:  # a file system without hard links
                    shutil.copy2(file, folder / file.name)
        draft = Draft(folder, network, ExportOptions(weights=False), specs, [], manifest)
        (tensors,) = float32_tensors(draft, [sample_frames(CLIP_FRAMES, bundle.size, seed=s) for s in range(CLIPS)])
        for index, (name, feeds) in enumerate(tensors.items()):
            if on_progress:
                on_progress(index, len(tensors), f"{name} int8")
            graph = calibrate(onnx.load(str(folder / f"{name}.float32.onnx")), feeds)
            stages[name] = Int8Stage(graph, (), feeds)
            for kind in INT8_FILES:
                stages[name].save(kind, folder)
                enter_file(draft, name, kind, len(graph.layers), [])
        if bundle.incremental is not None:
            write_int8_incremental(draft, stages)
        draft.seal()
