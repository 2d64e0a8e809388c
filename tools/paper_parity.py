"""The error of every exported stage of the published size against eager PyTorch, with reproducible weights.

`python -m tools.paper_parity` prints the table of docs/verify.md; it needs ten minutes and 8 GB. int8 is calibrated on
generated clips; all layers are int8 except those of the FEN that `export` would keep in float32.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch

from infdet_deploy.bundle.schema import STAGES
from infdet_deploy.bundle.tolerances import compare, tolerance
from infdet_deploy.exporting.int8.quantization import INT8_FILES, calibrate
from infdet_deploy.exporting.int8.stage import Int8Stage, layer_errors
from infdet_deploy.exporting.onnx import export_onnx
from infdet_deploy.exporting.stages.build import build_stage
from infdet_deploy.exporting.tensors import eager_tensors, stage_specs
from infdet_deploy.model.foreign_weights import import_upstream
from infdet_deploy.runtime.backends.registry import get_backend, open_stage
from infdet_deploy.video.sample import sample_frames
from tests.model.test_golden import upstream_state_dict

LENGTHS = (16, 100, 256)
RUNTIMES = ("openvino", "onnxruntime")


def main() -> None:
    network = import_upstream(upstream_state_dict())[0]
    specs = stage_specs(network)
    clips = {t: eager_tensors(network, sample_frames(t, 224, seed=t)) for t in LENGTHS}
    calibration = [eager_tensors(network, sample_frames(64, 224, seed=seed)) for seed in (1, 2)]
    example = eager_tensors(network, sample_frames(32, 224))
    scores = {}  # errors from frames to scores, each stage fed with the output of the one before
    print("| stage | precision | backend | " + " | ".join(f"T = {t}" for t in LENGTHS) + " |")
    print("|---|---|---|" + "---:|" * len(LENGTHS))
    with tempfile.TemporaryDirectory() as folder:
        for precision in ("float32", "bfloat16", "float16", "int8"):
            files = {}
            for stage in STAGES:
                path = Path(folder) / f"{stage}.{precision}.onnx"
                if precision == "int8":
                    feeds = [{i.name: clip[stage][i.name] for i in specs[stage].inputs} for clip in calibration]
                    graph = calibrate(onnx.load(str(Path(folder) / f"{stage}.float32.onnx")), feeds)
                    order = layer_errors(graph, [clips[16][stage]], "flow") if stage == "fen" else {}
                    int8 = Int8Stage(graph, tuple(order), [clips[16][stage]])
                    for file in INT8_FILES:
                        files[stage, file.backend] = Path(folder) / file.name(stage)
                        if order:
                            int8.write(file, Path(folder), tolerance("onnx", "int8"))
                        else:
                            int8.write_keeping(file, Path(folder), ())
                        print(f"{stage} {file.format}: {len(int8.kept[file.format])} float32 layers", file=sys.stderr)
                    continue
                inputs = tuple(torch.from_numpy(example[stage][i.name]) for i in specs[stage].inputs)
                export_onnx(stage, build_stage(stage, network, getattr(torch, precision)), specs[stage], inputs, path)
                files |= {(stage, runtime): path for runtime in RUNTIMES}
            for runtime in RUNTIMES:
                if not get_backend(runtime).supports(precision):
                    continue
                passed = {t: {"frames": clips[t]["fen"]["frames"]} for t in LENGTHS}
                for stage in STAGES:
                    names, (output,) = specs[stage].input_names, specs[stage].output_names
                    runner = open_stage(runtime, files[stage, runtime], precision, names, (output,))
                    errors = []
                    for t in LENGTHS:
                        right = clips[t][stage]
                        errors.append(compare(runner.run(right)[output], right[output]).relative_l2)
                        given = passed[t] | {"length": clips[t]["head"]["length"]}
                        found = runner.run({name: given[name] for name in names})[output]
                        if stage == "fen":
                            found = np.concatenate((found, np.zeros_like(found[:1])))
                        passed[t][output if stage in ("fen", "head") else stage.replace("tower", "features")] = found
                    runner.close()
                    row = " | ".join(f"{error:.1e}" for error in errors)
                    print(f"| `{stage}` | {precision} | {runtime} | {row} |", flush=True)
                scores[precision, runtime] = [
                    float(np.abs(passed[t]["scores"] - clips[t]["head"]["scores"]).max()) for t in LENGTHS
                ]
    print("\nLargest error of a score, from frames to scores:\n", file=sys.stdout)
    for (precision, runtime), errors in scores.items():
        print(f"| scores | {precision} | {runtime} | " + " | ".join(f"{error:.1e}" for error in errors) + " |")


if __name__ == "__main__":
    main()
