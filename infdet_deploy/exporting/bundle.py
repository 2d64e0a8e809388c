"""Write a bundle: every stage compared with the network before it is kept; the folder whole or not at all."""

import dataclasses
import importlib.metadata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from infdet_deploy import __version__
from infdet_deploy.bundle.golden import with_network
from infdet_deploy.bundle.loading import NETWORK, TOWERS, WEIGHTS
from infdet_deploy.bundle.manifest import FORMAT, write_manifest
from infdet_deploy.bundle.tolerances import CHECK_FRAMES, compare
from infdet_deploy.config import to_dict
from infdet_deploy.detections import DetectionRule, default_rule
from infdet_deploy.errors import ParityError, UsageError
from infdet_deploy.exporting.checking import worst_error
from infdet_deploy.exporting.flops import stage_work
from infdet_deploy.exporting.golden import GOLDEN_FRAMES, GOLDEN_SEED, write_golden
from infdet_deploy.exporting.onnx import check_2d, check_precision, export_onnx
from infdet_deploy.exporting.ranges import FLOAT16_MAX, first_endpoint, measure, too_large
from infdet_deploy.exporting.stages import TOWER_BEGINS, StageSpec, build_stage, float32_operators, stage_specs
from infdet_deploy.exporting.torchscript import export_torchscript
from infdet_deploy.exporting.whole_network import join
from infdet_deploy.files import sha256, whole_folder
from infdet_deploy.model.i3d import ENDPOINTS
from infdet_deploy.model.network import InfDetNet, to_grey
from infdet_deploy.model.weights import save_network
from infdet_deploy.runtime.backends.registry import get_backend, open_stage
from infdet_deploy.snippets import FRAMES_PER_SNIPPET, valid_length
from infdet_deploy.video.sample import sample_frames

if TYPE_CHECKING:
    from infdet_deploy.exporting.calibration import Calibration

EXAMPLE_FRAMES = 32


def eager_tensors(network: InfDetNet, frames: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """Every stage's inputs and outputs as the network itself computes them.

    frames: uint8 [T, S, S]. Returns for each stage a mapping of tensor name to array.
    """
    with torch.inference_mode():
        out = network(to_grey(torch.from_numpy(frames))[None])
        scores = torch.sigmoid(out.logits[0]).numpy()
    head = {"length": np.array([valid_length(len(frames))], np.int64), "scores": scores}
    tensors = {"head": head}
    if out.infrared_features is not None:
        features = head["infrared_features"] = out.infrared_features[0].numpy()
        tensors["infrared_tower"] = {"frames": frames, "features": features}
    if out.flow is not None and out.flow_features is not None:
        flow, features = out.flow[0].numpy(), out.flow_features[0].numpy()
        head["flow_features"] = features
        tensors |= {"fen": {"frames": frames, "flow": flow[:-1]}, "flow_tower": {"flow": flow, "features": features}}
    return with_network(tensors, frames)


def check_int8() -> None:
    """Raise BackendError where this processor cannot measure OpenVINO's int8, without which none is written."""
    get_backend("openvino").check_supports("int8", "export on one that has it, or without --int8")


def export_bundle(
    network: InfDetNet,
    out: Path,
    rule: DetectionRule | None = None,
    precisions: tuple[str, ...] = ("float32", "float16"),
    formats: tuple[str, ...] = ("onnx", "torchscript"),
    frame_mode: str = "resize",
    source: str = "",
    include_weights: bool = True,
    joined: bool = False,
    conv2d: bool = False,
    stream: bool = False,
    calibration: "Calibration | None" = None,
    max_map_drop: float = 1.0,
    fps: float | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> Path:
    """Export `network` as the folder `out`.

    rule: how scores become detections; default_rule() where None. joined: also write the stage `network`, all others in
    one graph, which holds every weight a second time. conv2d: stages without 3D operators, which compute the same.
    stream: also write the towers as steps over a clip that is still arriving, as ONNX. calibration, max_map_drop: the
    clips that int8 is calibrated and judged on, and float16's ranges are measured on as well; the points of mAP@0.5
    that int8 may lose there. fps: frames per second of what the network was trained on, where that is known.

    Raises ParityError when a stage, on any backend that this machine has, is not within its tolerance of the network,
    does not compute in its precision, or has a 3D operator that it must not have; then nothing is written; UsageError
    for a network without FEN that needs flow, for int8 without float32 ONNX or without clips, and for steps without
    ONNX; BackendError for int8 on a processor that cannot tell what it is worth.
    """
    if network.config.has_flow and not network.config.has_fen:
        raise UsageError(
            "this network takes TV-L1 flow, which no stage computes and no camera waits for; train it with the FEN "
            "(--flow fen) to export it"
        )
    int8 = "int8" in precisions
    if int8 and (calibration is None or "float32" not in precisions or "onnx" not in formats):
        raise UsageError("int8 is made from float32 ONNX with clips to calibrate on; give all three")
    if int8:
        check_int8()
    if stream and "onnx" not in formats:
        raise UsageError("towers that take a clip in steps are ONNX; add that format")
    precisions = tuple(precision for precision in precisions if precision != "int8")
    specs = {name: spec for name, spec in stage_specs(network).items() if joined or name != NETWORK}
    size = network.config.size
    example = _feeds(specs, eager_tensors(network, sample_frames(EXAMPLE_FRAMES, size)))
    checks = [eager_tensors(network, sample_frames(t, size, seed=t)) for t in CHECK_FRAMES]
    steps, done = len(specs) * len(precisions) * len(formats), 0
    stages: dict[str, dict[str, Any]] = {n: {**dataclasses.asdict(specs[n]), "files": {}} for n in specs}
    ranges: dict[str, dict[str, float]] = {}
    if "float16" in precisions:
        clips = () if calibration is None else (*calibration.windows, *calibration.held_out)
        feeds = [_feeds(specs, tensors) for tensors in (*checks, *(eager_tensors(network, clip) for clip in clips))]
        for name in (name for name in specs if name != NETWORK):
            ranges[name] = measure(build_stage(name, network, torch.float32), (feed[name] for feed in feeds))
    all_begins: dict[str, dict[str, str]] = {}
    parity: dict[str, dict[str, Any]] = {precision: {} for precision in precisions}
    with whole_folder(out) as folder:
        for precision in precisions:
            begins = all_begins[precision] = {}
            for name in specs:

                def report(form: str, done: int = done, what: str = f"{name} {precision}") -> None:
                    if on_progress:
                        on_progress(done + formats.index(form), steps, f"{what} {form}")

                writer = _StageWriter(name, specs, example[name], checks, folder, conv2d, report, ranges.get(name, {}))
                parity[precision][name], files = writer.write(network, precision, formats, begins)
                for form, file in files.items():
                    stages[name]["files"].setdefault(form, {})[precision] = file
                done += len(formats)
        for name, work in stage_work(folder, stages, specs, network.config).items():
            stages[name] |= work
        if include_weights:
            save_network(folder / WEIGHTS, network, network.config)
        golden = sample_frames(GOLDEN_FRAMES, size, seed=GOLDEN_SEED)
        write_golden(folder, golden, eager_tensors(network, golden))
        manifest: dict[str, Any] = {
            "format": FORMAT,
            "name": out.name.removesuffix(".infdet"),
            "source": source,
            "made_by": {p: _version(p) for p in ("infdet-deploy", "torch", "onnx", "onnxscript", "numpy")},
            "operators": "2d" if conv2d else "3d",
            "model": network.config.to_json(),
            "preprocessing": {"size": size, "mode": frame_mode, "dtype": "uint8", "channels": 1}
            | ({} if fps is None else {"fps": fps}),
            "classes": list(network.config.classes),
            "rule": to_dict(rule or default_rule(network.config.classes)),
            "frames_per_snippet": FRAMES_PER_SNIPPET,
            "receptive_field_frames": 108,
            "stages": stages,
            "ranges": {n: {m: float(f"{v:.3g}") for m, v in found.items()} for n, found in ranges.items()},
            "parity": parity,
        }

        def tell(what: str) -> None:
            if on_progress:
                on_progress(done, steps, what)

        if stream:
            from infdet_deploy.exporting.incremental_bundle import add_stream

            add_stream(folder, manifest, network, all_begins, checks, tell)
        if int8 and calibration is not None:
            from infdet_deploy.exporting.int8_bundle import add_int8

            written = add_int8(folder, manifest, specs, calibration, checks, max_map_drop, tell)
            if stream:
                from infdet_deploy.exporting.int8_stream import add_int8_stream

                add_int8_stream(folder, manifest, network, written, tell)
        if on_progress:
            on_progress(done, steps, "hashing")
        seal(folder, manifest)
    return out


def seal(folder: Path, manifest: dict[str, Any]) -> None:
    """Enter every file of the folder into the manifest, and write it there."""
    manifest["files"] = {
        file.name: {"bytes": file.stat().st_size, "sha256": sha256(file)} for file in sorted(folder.iterdir())
    }
    write_manifest(folder, manifest)


def _version(package: str) -> str:
    return __version__ if package == "infdet-deploy" else importlib.metadata.version(package)


def _feeds(specs: dict[str, StageSpec], tensors: dict) -> dict[str, tuple[torch.Tensor, ...]]:
    return {n: tuple(torch.from_numpy(tensors[n][i.name]) for i in specs[n].inputs) for n in specs}


@dataclasses.dataclass
class _StageWriter:
    """Writes one stage in every format, compared before it is kept."""

    name: str
    specs: dict[str, StageSpec]
    example: tuple[torch.Tensor, ...]
    checks: list[dict[str, dict[str, np.ndarray]]]
    folder: Path
    conv2d: bool
    report: Callable[[str], None]
    ranges: dict[str, float]

    def write(
        self, network: InfDetNet, precision: str, formats: tuple[str, ...], begins: dict[str, str]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """The stage's entry in the manifest's parity, and its files by format.

        A float16 tower that is out of tolerance is tried again with its first layers in float32; where it begins then
        is put into `begins`, for the stages joined.
        """
        tries = self._tries(precision)
        for begin in tries:
            begins |= {self.name: begin} if self.name in TOWERS else {}
            stage = build_stage(self.name, network, getattr(torch, precision), begins, self.conv2d)
            try:
                entry, files = self._write(stage, precision, formats, float32_operators(self.name, network, begins))
            except ParityError:
                if begin == tries[-1]:
                    raise
                continue
            return entry | ({"float32_before": begin} if begin != ENDPOINTS[0] else {}), files
        raise AssertionError

    def _tries(self, precision: str) -> tuple[str, ...]:
        """Where a tower may begin to be `precision`, in the order to try them; of no meaning for other stages.

        Raises ParityError where float16 could not hold the stage's values.
        """
        if precision != "float16":
            return ENDPOINTS[:1]
        large, tower = too_large(self.ranges), self.name in TOWERS
        first = first_endpoint(self.ranges) if tower else None if large else ENDPOINTS[0]
        if first is None:
            worst = max(large, key=lambda name: self.ranges[name])
            raise ParityError(
                f"{self.name} float16: {worst} gives values up to {self.ranges[worst]:.3g}, float16 ends at "
                f"{FLOAT16_MAX:.0f}; nothing was written; export without --fp16"
            )
        return (first, *(b for b in TOWER_BEGINS if tower and ENDPOINTS.index(b) > ENDPOINTS.index(first)))

    def _write(
        self, stage: torch.nn.Module, precision: str, formats: tuple[str, ...], kept: int
    ) -> tuple[dict[str, Any], dict[str, str]]:
        entry: dict[str, Any] = {}
        files = {}
        for form in formats:
            self.report(form)
            file = self.folder / f"{self.name}.{precision}.{'onnx' if form == 'onnx' else 'pt'}"
            if form == "onnx":
                if self.name == NETWORK:
                    parts = {p: self.folder / f"{p}.{precision}.onnx" for p in self.specs if p != NETWORK}
                    join(parts, self.specs, file)
                else:
                    export_onnx(self.name, stage, self.specs[self.name], self.example, file)
                entry["operators"] = check_precision(self.name, file, precision, kept)
                if self.conv2d:
                    check_2d(self.name, file)
            else:
                export_torchscript(stage, self.example, file)
            entry[form] = self._check(file, form, precision)
            files[form] = file.name
        return entry, files

    def _check(self, file: Path, form: str, precision: str) -> float:
        """The largest relative L2 over the check clips and the backends that read the file here.

        Raises ParityError when it is out of tolerance.
        """
        spec = self.specs[self.name]
        inputs, (output,) = (tuple(tensor.name for tensor in end) for end in (spec.inputs, spec.outputs))

        def errors(backend: str) -> Iterator[float]:
            runner = open_stage(backend, file, precision, inputs, (output,))
            for tensors in (check[self.name] for check in self.checks):
                yield compare(runner.run(tensors)[output], tensors[output]).relative_l2
            runner.close()

        return worst_error(self.name, precision, form, errors)
