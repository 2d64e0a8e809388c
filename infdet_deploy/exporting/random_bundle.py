"""A preset's network with seeded random weights as a bundle: for measuring speed, which needs no trained weights."""

from pathlib import Path

from infdet_deploy.bundle.loading import load_bundle
from infdet_deploy.exporting.bundle import export_bundle
from infdet_deploy.exporting.int8.calibration import Calibration
from infdet_deploy.exporting.options import ExportOptions, OnProgress, Origin
from infdet_deploy.model.presets import preset
from infdet_deploy.model.weights import random_network
from infdet_deploy.precision import PRECISIONS
from infdet_deploy.video.sample import sample_frames

# int8 is calibrated on these clips; at the published size the tensors of 100 frames need some GB per stage
CLIPS, CLIP_FRAMES = 2, 24


def export_random(
    preset_name: str,
    path: Path,
    precisions: tuple[str, ...],
    on_progress: OnProgress | None = None,
    incremental: bool = False,
) -> None:
    """Write the bundle at `path` in float32, in `precisions`, and in the precisions that it has already.

    int8 is written without checking its accuracy, which means nothing with random weights.
    """
    existing = load_bundle(path).precisions if path.is_dir() else ()
    wanted = tuple(p for p in PRECISIONS if p in ("float32", *existing, *precisions))
    network, calibration = random_network(preset(preset_name)), None
    if "int8" in wanted:
        clips = tuple(sample_frames(CLIP_FRAMES, network.config.size, seed=seed) for seed in range(CLIPS))
        source = "seeded random frames and weights: for measuring speed only, accuracy was not checked"
        calibration = Calibration(source, clips, (), (), checked=False)
    options = ExportOptions(wanted, formats=("onnx",), incremental=incremental, weights=False)
    export_bundle(network, path, options, Origin(source="seeded random weights"), calibration, on_progress)
