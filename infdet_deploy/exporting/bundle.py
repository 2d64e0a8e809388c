"""Write a bundle: build the stages, write each kind of file, compare it with the network, seal the manifest.

The folder is written atomically.
"""

from pathlib import Path

import numpy as np

from infdet_deploy.bundle.golden import GOLDEN
from infdet_deploy.bundle.loading import WEIGHTS
from infdet_deploy.errors import UsageError
from infdet_deploy.exporting.bundle_draft import new_draft, seal
from infdet_deploy.exporting.incremental.write import write_incremental
from infdet_deploy.exporting.int8.calibration import Calibration
from infdet_deploy.exporting.multiply_adds import write_multiply_adds
from infdet_deploy.exporting.options import ExportOptions, OnProgress, Origin
from infdet_deploy.exporting.tensors import golden_arrays
from infdet_deploy.exporting.write_stages import write_stages
from infdet_deploy.files import whole_folder
from infdet_deploy.model.network import InfDetNet
from infdet_deploy.model.weights import save_network
from infdet_deploy.runtime.backends.registry import get_backend
from infdet_deploy.video.sample import sample_frames

GOLDEN_FRAMES = GOLDEN_SEED = 64


def export_bundle(
    network: InfDetNet,
    out: Path,
    options: ExportOptions = ExportOptions(),
    origin: Origin = Origin(),
    calibration: Calibration | None = None,
    on_progress: OnProgress | None = None,
) -> Path:
    """Export `network` as the folder `out`; returns `out`.

    calibration: the clips of `options.calibrate`, for int8 and float16.

    Raises ParityError, and writes nothing, when a stage on any installed backend is out of tolerance, does not compute
    in its precision, or has 3D operators despite `conv2d`. Raises UsageError for a network with TV-L1 flow and for int8
    without clips, BackendError for int8 on a processor without VNNI.
    """
    if network.config.has_flow and not network.config.has_fen:
        raise UsageError(
            "this network reads TV-L1 flow, which no stage computes and which is too slow for live video; to export, "
            "train with --flow fen"
        )
    if options.int8:
        if calibration is None:
            raise UsageError("int8 needs clips to calibrate on")
        if calibration.checked:
            check_int8()
    clips = () if calibration is None else (*calibration.windows, *calibration.held_out)
    with whole_folder(out) as folder:
        draft = new_draft(folder, out.name.removesuffix(".infdet"), network, options, origin, on_progress)
        write_stages(draft, clips)
        write_multiply_adds(draft)
        if options.incremental:
            write_incremental(draft)
        if options.int8 and calibration is not None:
            from infdet_deploy.exporting.int8.write import write_int8
            from infdet_deploy.exporting.int8.write_incremental import write_int8_incremental

            stages = write_int8(draft, calibration)
            if options.incremental:
                write_int8_incremental(draft, stages)
        if options.weights:
            save_network(folder / WEIGHTS, network, network.config)
        golden = golden_arrays(network, sample_frames(GOLDEN_FRAMES, network.config.size, seed=GOLDEN_SEED))
        np.savez_compressed(folder / GOLDEN, **golden)  # type: ignore[arg-type]
        draft.report("hashing")
        seal(folder, draft.manifest)
    return out


def check_int8() -> None:
    """Raise BackendError on a processor without VNNI, which cannot measure the errors of OpenVINO's int8."""
    get_backend("openvino").check_supports("int8", "export on one that has it, or without int8")
