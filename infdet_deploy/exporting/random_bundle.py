"""A preset's network with seeded random weights as a bundle: for measuring speed, where no weights are needed."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx

from infdet_deploy.bundle.loading import TOWERS, load_bundle
from infdet_deploy.bundle.manifest import MANIFEST, read_manifest
from infdet_deploy.exporting.bundle import export_bundle
from infdet_deploy.exporting.calibration import stage_tensors
from infdet_deploy.exporting.checking import check_precision
from infdet_deploy.exporting.draft import Draft, Origin
from infdet_deploy.exporting.int8_stage import Int8Stage
from infdet_deploy.exporting.options import ExportOptions
from infdet_deploy.exporting.quantization import INT8_FILES, calibrate, quantize
from infdet_deploy.exporting.specs import stage_specs
from infdet_deploy.exporting.write_int8_incremental import write_int8_incremental
from infdet_deploy.files import whole_folder
from infdet_deploy.model.presets import preset
from infdet_deploy.model.weights import random_network
from infdet_deploy.runtime.stages import open_bundle_stage
from infdet_deploy.video.sample import sample_frames

CLIPS, CLIP_FRAMES = 2, 24  # int8 is calibrated on; a paper-size stage holds some GB for 100 frames


def export_random(
    preset_name: str,
    path: Path,
    precisions: tuple[str, ...],
    on_progress: Callable[[int, int, str], None] | None = None,
    stream: bool = False,
) -> None:
    """Write the bundle at `path` in float32 and `precisions`; what it holds already is kept, or made again with it.

    stream: a bundle that is made anew gets its towers as steps too.
    """
    held = load_bundle(path).precisions if path.is_dir() else ()
    int8 = "int8" in (*held, *precisions)
    floats = tuple(p for p in ("float32", "bfloat16", "float16") if p in (*held, *precisions, "float32"))
    if not set(floats) <= set(held):
        options = ExportOptions(floats, formats=("onnx",), incremental=stream, weights=False)
        origin = Origin(source="seeded random weights")
        export_bundle(random_network(preset(preset_name)), path, options, origin, on_progress=on_progress)
        held = floats
    if int8 and "int8" not in held:
        _add_int8(path, preset_name, on_progress)


def _add_int8(path: Path, preset_name: str, on_progress: Callable[[int, int, str], None] | None) -> None:
    """int8 stages beside the float32 ones: every layer that can be, judged by nothing, since the weights are random."""
    bundle = load_bundle(path)
    network = random_network(preset(preset_name))
    specs = {n: spec for n, spec in stage_specs(network).items() if n in bundle.stages}
    runners = {name: open_bundle_stage(bundle, name, "openvino", "float32") for name in specs}
    feeds = stage_tensors(runners, [sample_frames(CLIP_FRAMES, bundle.size, seed=s) for s in range(CLIPS)])
    for runner in runners.values():
        runner.close()
    manifest = read_manifest(path)
    towers: dict[str, Int8Stage] = {}
    with whole_folder(path) as folder:
        for file in path.iterdir():
            if file.name != MANIFEST:
                try:
                    os.link(file, folder / file.name)
                except OSError:  # a file system without hard links
                    shutil.copy2(file, folder / file.name)
        for index, name in enumerate(specs):
            if on_progress:
                on_progress(index, len(specs), f"{name} int8")
            graph = calibrate(onnx.load(str(folder / f"{name}.float32.onnx")), feeds[name])
            heavy = sum(manifest["parity"]["float32"][name]["operators"].values())
            for kind in INT8_FILES:
                file = folder / kind.name(name)
                onnx.save(quantize(graph, unsigned=kind.unsigned), str(file))
                if graph.layers:
                    check_precision(name, file, "int8", heavy - len(graph.layers))
                manifest["stages"][name]["files"].setdefault(kind.format, {})["int8"] = file.name
            if name in TOWERS:
                towers[name] = Int8Stage(graph, (), feeds[name], {kind.format: [] for kind in INT8_FILES})
        draft = Draft(folder, network, ExportOptions(weights=False), specs, [], manifest)
        if bundle.incremental is not None:
            manifest["parity"]["int8"] = {}
            write_int8_incremental(draft, towers)
        manifest["int8"] = {
            "calibration": "seeded random frames and weights: for measuring speed only, accuracy was not judged",
            "calibration_frames": CLIPS * CLIP_FRAMES,
        }
        draft.seal()
