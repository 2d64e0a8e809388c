"""The command line: one thin function a command. Results go to stdout, progress and notes to stderr."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from infdet_deploy import __version__
from infdet_deploy.console import print_json, progress, table
from infdet_deploy.errors import InfdetError, one_line

app = typer.Typer(
    name="infdet-deploy",
    help="Infrared temporal action detection: which action happened when, in hours of thermal video.\n\n"
    "Start with nothing at hand: `infdet-deploy train`, `infdet-deploy export --fp16`, "
    "`infdet-deploy bench --frames 100 --runs 100`. With a bundle: `infdet-deploy detect NAME.infdet VIDEO`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
dataset_app = typer.Typer(help="Make, check, convert and prepare data sets.", no_args_is_help=True)
app.add_typer(dataset_app, name="dataset")

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on stdout.")]
DataArg = Annotated[Path, typer.Argument(help="A data set folder, or an annotation file or folder.")]
ClassesOption = Annotated[str | None, typer.Option(help="Comma-separated class names, in order.")]
FpsOption = Annotated[float | None, typer.Option(help="Frame rate, for formats that count frames.")]
BundleArg = Annotated[Path, typer.Argument(help="A bundle folder, NAME.infdet, written by `export`.")]


def main() -> None:
    """Entry point: every error a user can cause is one line on stderr and exit status 1 or 2."""
    try:
        app()
    except Exception as error:
        line = one_line(error)
        if line is None:
            raise
        print(f"infdet-deploy: {line}", file=sys.stderr)
        sys.exit(error.exit_status if isinstance(error, InfdetError) else 1)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def train(
    data: Annotated[
        Path | None, typer.Option(help="Dataset folder; without it a synthetic set is made in data/.")
    ] = None,
    preset: Annotated[str, typer.Option(help="Network size: tiny or infdet (the paper's).")] = "tiny",
    out: Annotated[Path | None, typer.Option(help="Run folder [default: runs/PRESET-N].")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps [default: 360].")] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights and sampling.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run in --out stopped.")] = False,
    json_output: JsonFlag = False,
) -> None:
    """Train the network: action scores and optical flow together."""
    from infdet_deploy import commands

    result = commands.train(data, preset, out, steps, seed, resume)
    if json_output:
        print_json(result)
        return
    print(f"run: {result['run']}")
    print(f"mAP@0.5 (THUMOS'14) on the clips that chose the checkpoint: {result['validation_map_0.5']:.3f}")
    if result["test_map_0.5"] is not None:
        print(f"mAP@0.5 on test clips, which training has not seen: {result['test_map_0.5']:.3f}")
    print(f"next: infdet-deploy export {result['run']} --fp16")


@app.command()
def export(
    run: Annotated[
        Path | None, typer.Argument(help="A run folder or a .safetensors checkpoint [default: newest run].")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Bundle folder to write [default: RUN.infdet here].")] = None,
    fp16: Annotated[
        bool, typer.Option("--fp16", help="Also write every stage with float16 weights and arithmetic.")
    ] = False,
    json_output: JsonFlag = False,
) -> None:
    """Export a trained network as a bundle: ONNX and TorchScript stages, each compared with the network first."""
    from infdet_deploy import commands

    bundle = commands.export(run, out, fp16)
    manifest, path = bundle.manifest, bundle.path
    if json_output:
        print_json({"bundle": str(path), "parity": manifest["parity"], "files": manifest["files"]})
        return
    rows = [
        [stage, precision, f"{entry['onnx']:.1e}", f"{entry['torchscript']:.1e}", _operators(entry["operators"])]
        for precision, stages in manifest["parity"].items()
        for stage, entry in stages.items()
    ]
    columns = ["stage", "precision", "ONNX rel. L2", "TorchScript rel. L2", "convolutions and products compute in"]
    table(str(path), columns, rows, "Relative L2 against the eager network, the worst of the check clips.")
    print(f"next: infdet-deploy bench {path} --frames 100 --runs 100   or   infdet-deploy detect {path} VIDEO")


def _operators(counts: dict[str, int]) -> str:
    return ", ".join(f"{precision} × {count}" for precision, count in sorted(counts.items()))


@app.command()
def detect(
    bundle: BundleArg,
    videos: Annotated[list[Path], typer.Argument(help="Video files, folders of images, .cptv or 16-bit TIFF.")],
    backend: Annotated[str, typer.Option(help="openvino, onnxruntime or torchscript.")] = "openvino",
    precision: Annotated[str, typer.Option(help="A precision that the bundle holds.")] = "float32",
    fps: Annotated[float | None, typer.Option(help="Frames per second, where the recording does not tell.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw frames, scores and detections into this folder.")] = None,
    json_output: JsonFlag = False,
) -> None:
    """Find actions in recordings: class, start, end, score."""
    from infdet_deploy import commands

    results = commands.detect(bundle, videos, backend, precision, fps, picture)
    if json_output:
        print_json({"bundle": str(bundle), "backend": backend, "precision": precision, "videos": results})
        return
    for result in results:
        title = f"{result['video']}: {result['frames']} frames, {result['duration_s']:.2f} s"
        rows = [
            [d["label"], f"{d['start_s']:.2f}", f"{d['end_s']:.2f}", f"{d['score']:.3f}"] for d in result["detections"]
        ]
        if rows:
            table(title, ["class", "start (s)", "end (s)", "score"], rows)
        else:
            print(f"{title}: no action found (highest score {result['highest_score']:.3f})")
        if "picture" in result:
            print(f"picture: {result['picture']}")


@app.command()
def verify(bundle: BundleArg, json_output: JsonFlag = False) -> None:
    """Compare every stage with the eager network on every backend here; exit 1 when one is out of tolerance."""
    from dataclasses import asdict

    from infdet_deploy.benchmarks import parity
    from infdet_deploy.runtime.bundle import load_bundle

    checked = []
    with progress("verify") as update:
        for result in parity.verify(load_bundle(bundle)):
            checked.append(result)
            update(len(checked), len(checked) + 1, f"{result.backend} {result.stage} {result.precision}")
    failed = sum(not result.passed for result in checked)
    if json_output:
        print_json({"passed": not failed, "stages": [asdict(r) | {"passed": r.passed} for r in checked]})
    else:
        rows = [
            [
                *(r.stage, r.backend, r.precision, str(r.frames)),
                *(f"{r.max_abs:.1e}", f"{r.relative_l2:.1e}", f"{r.cosine:.7f}"),
                "ok" if r.passed else f"over {r.tolerance:.0e}",
            ]
            for r in checked
        ]
        columns = ["stage", "backend", "precision", "frames", "max abs", "rel. L2", "cosine", "verdict"]
        table(str(bundle), columns, rows, "Each stage is fed the eager network's own input to it.")
        print(f"{len(checked) - failed} within tolerance, {failed} out of tolerance")
    if failed:
        raise typer.Exit(1)


@app.command()
def bench(
    bundle: Annotated[
        Path | None, typer.Argument(help="A bundle [default: newest here, else the paper's network].")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="Measure a preset with seeded random weights instead.")] = None,
    frames: Annotated[int, typer.Option(help="Frames of the clip.")] = 100,
    runs: Annotated[int, typer.Option(help="Timed runs of every contender.")] = 100,
    backends: Annotated[str, typer.Option(help="Comma-separated backends, or all.")] = "openvino",
    precision: Annotated[str, typer.Option(help="Comma-separated precisions, or all.")] = "all",
    json_output: JsonFlag = False,
) -> None:
    """Measure speed: whole clips from frames to detections, contenders in alternation, nothing dropped."""
    from infdet_deploy import commands

    report = commands.bench(bundle, preset, frames, runs, backends, precision)
    if json_output:
        print_json(report)
        return
    rows = []
    for row in report["contenders"]:
        ms, stages = row["latency_ms"], row["stages_ms"]
        rows.append(
            [f"{row['backend']} {row['precision']}", f"{row['frames_per_s']['median']:.1f}"]
            + [f"{ms[key]:.1f}" for key in ("median", "p90", "p99", "max")]
            + [f"{stages[key]:.1f}" for key in ("fen", "infrared_tower", "flow_tower", "head")]
            + [f"{row['real_time_factor']:.1f}×"]
        )
    columns = [
        "contender",
        "frames/s",
        "median ms",
        "p90",
        "p99",
        "max",
        "fen",
        "infrared",
        "flow",
        "head",
        "real time",
    ]
    paper = report["paper"]
    table(
        f"{report['bundle']}: {report['frames']} frames, {report['runs']} runs, "
        f"{report['device']}, {report['cores']} cores",
        columns,
        rows,
        f"The paper's figure: {paper['frames_per_s']:.0f} frames/s on {paper['device']}. Real time is 25 frames/s. "
        f"Peak memory {report['peak_memory_mb']:.0f} MB.",
    )


@app.command(name="eval")
def evaluate(
    detections: Annotated[Path, typer.Option(help="Detections: THUMOS text, ActivityNet JSON or `detect --json`.")],
    annotations: Annotated[Path, typer.Option(help="Annotations: a folder of class files, or JSON.")],
    protocol: Annotated[str, typer.Option(help="thumos14 or activitynet.")] = "thumos14",
    subset: Annotated[str | None, typer.Option(help="Only clips of this subset (JSON annotations).")] = None,
    json_output: JsonFlag = False,
) -> None:
    """Score detections against annotations: mean average precision at temporal IoU 0.1 to 0.5."""
    from infdet_deploy import commands

    result = commands.evaluate(detections, annotations, protocol, subset)
    if json_output:
        print_json(result)
        return
    ious = list(result["map"])
    rows = [[label, *(("–" if ap[i] is None else f"{ap[i]:.4f}") for i in ious)] for label, ap in result["ap"].items()]
    rows.append(["mAP", *(f"{result['map'][i]:.4f}" for i in ious)])
    table(f"{protocol}", ["class", *(f"IoU {i}" for i in ious)], rows)


@app.command(name="import-weights")
def import_weights(
    checkpoint: Annotated[Path, typer.Argument(help="The original network's checkpoint, or a Kinetics I3D tower's.")],
    out: Annotated[Path, typer.Option(help="The .safetensors file to write.")],
    classes: Annotated[str | None, typer.Option(help="Comma-separated class names in the weights' order.")] = None,
    tower: Annotated[str | None, typer.Option(help="For a Kinetics checkpoint: infrared or flow.")] = None,
    into: Annotated[Path | None, typer.Option(help="With --tower: the checkpoint to put the tower into.")] = None,
) -> None:
    """Bring in published weights; tensors only, nothing in the file is executed."""
    from infdet_deploy import commands

    report = commands.import_weights(checkpoint, out, classes, tower, into)
    print(f"{out}: {report.loaded} entries loaded, {len(report.unused)} without effect on the network")
    for name in report.unused:
        print(f"  unused: {name}")
    print(f"next: infdet-deploy export {out} --fp16")


@app.command()
def complexity(
    preset: Annotated[str, typer.Option(help="Network size: tiny or infdet.")] = "infdet",
    frames: Annotated[int, typer.Option(help="Frames of the clip.")] = 100,
    json_output: JsonFlag = False,
) -> None:
    """Count parameters and multiply-adds, beside the paper's figures."""
    from infdet_deploy import commands

    report = commands.complexity(preset, frames)
    if json_output:
        print_json(report)
        return
    rows = [
        [r["name"], f"{r['parameters']:,}", f"{r['multiply_adds'] / 1e9:.2f}", r["published"]] for r in report["stages"]
    ]
    title = f"{preset}, {frames} frames: {report['multiply_adds'] / 1e9:.1f} G multiply-adds"
    table(title, ["part", "parameters", "multiply-adds (G)", "published, 100 frames"], rows, report["notes"])


@dataset_app.command()
def synth(
    out: Annotated[Path, typer.Argument(help="Folder to write; must not exist.")],
    clips: Annotated[int, typer.Option(help="Number of clips; a quarter of them is for testing.")] = 60,
    seed: Annotated[int, typer.Option(help="Same seed, same pixels.")] = 0,
) -> None:
    """Make thermal-looking videos of people who drop, fight and hug, with annotations."""
    from infdet_deploy import commands

    commands.synthesise(out, clips, seed)
    print(f"{out}: {clips} clips in videos/, annotations.json")
    print(f"next: infdet-deploy train --data {out}")


@dataset_app.command()
def check(
    data: DataArg,
    classes: ClassesOption = None,
    fps: FpsOption = None,
    picture: Annotated[Path | None, typer.Option(help="Draw lengths and clips into this PNG.")] = None,
    json_output: JsonFlag = False,
) -> None:
    """Read all annotations, decode all frames, and say what is there and what is wrong; exit 1 on any problem."""
    from infdet_deploy import commands

    report = commands.check_dataset(data, classes, fps, picture)
    if json_output:
        print_json(report)
    else:
        subsets = ", ".join(f"{count} {name}" for name, count in report["subsets"].items() if name != "None")
        rows = []
        for label, (short, middle, long) in report["lengths"].items():
            spread = report["length_s"][label] or {"mean": 0, "shortest": 0, "longest": 0}
            figures = [f"{spread[key]:.2f}" for key in ("mean", "shortest", "longest")]
            rows.append([label, str(short), str(middle), str(long), str(short + middle + long), *figures])
        columns = ["class", "0–5 s", "5–10 s", "from 10 s", "instances", "mean s", "shortest s", "longest s"]
        clips = f"{report['clips']} clips{f' ({subsets})' if subsets else ''}"
        table(f"{report['annotations']}: {clips}, {report['instances']} instances", columns, rows)
        seen, known = report["frames"], report["duration_s"]
        print(f"frames decoded of {seen['decoded']} of {seen['of']} clips")
        if known:
            print(
                f"{known['count']} clips of known length: {known['total']:.1f} s in all, {known['shortest']:.2f} to "
                f"{known['longest']:.2f} s, mean {known['mean']:.2f} s"
            )
        for problem in report["problems"]:
            print(f"problem: {problem}")
        print(f"{len(report['problems'])} problems" if report["problems"] else "no problem found")
        if picture:
            print(f"picture: {picture}")
    if report["problems"]:
        raise typer.Exit(1)


@dataset_app.command()
def convert(
    data: DataArg,
    out: Annotated[Path, typer.Argument(help="File to write; a folder for thumos.")],
    to: Annotated[str, typer.Option(help="activitynet, infdet, thumos or label-studio.")],
    classes: ClassesOption = None,
    fps: FpsOption = None,
) -> None:
    """Write the same annotations in another format, and say what that format cannot hold."""
    from infdet_deploy import commands

    clips, lost = commands.convert_dataset(data, out, to, classes, fps)
    print(f"{out}: {clips} clips as {to}")
    for line in lost:
        print(f"not held by this format: {line}")


@dataset_app.command()
def prepare(
    data: DataArg,
    preset: Annotated[str, typer.Option(help="Network size: tiny or infdet (the paper's).")] = "tiny",
    workers: Annotated[int | None, typer.Option(help="Processes [default: one a CPU].")] = None,
) -> None:
    """Decode, resize and compute TV-L1 flow of all clips into DATA/.cache, which training then reads.

    Interrupted, it goes on where it stopped; clips that are ready are not made again.
    """
    from infdet_deploy import commands

    made, there, size = commands.prepare_dataset(data, preset, workers)
    print(f"{data}: {made} clips prepared, {there} were ready; {size / 1e6:.1f} MB in .cache/")
    print(f"next: infdet-deploy train --data {data} --preset {preset}")


@app.command()
def doctor(json_output: JsonFlag = False) -> None:
    """Say what this machine can do and what to install for more."""
    from infdet_deploy.doctor import examine

    report = examine()
    if json_output:
        print_json(report)
        return
    machine = report["machine"]
    print(f"infdet-deploy {report['version']}, Python {machine['python']}, {machine['system']}")
    print(
        f"{machine['processor']}, {machine['cores']} cores, {' '.join(machine['features']) or 'no known vector units'}"
    )
    print(f"NVIDIA GPU: {'yes' if machine['nvidia_gpu'] else 'none found'}")
    rows = [
        [n, "ready" if b["available"] else "not installed", ", ".join(b["precisions"])]
        for n, b in report["backends"].items()
    ]
    table("Backends", ["backend", "state", "precisions"], rows)
    rows = [[n, p["version"] or "–", p["purpose"], p["install"] or ""] for n, p in report["packages"].items()]
    table("Packages", ["package", "version", "for", "to install"], rows)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes.")] = Path("demo"),
    sample: Annotated[Path | None, typer.Option(help="A real recording to run as well.")] = None,
) -> None:
    """The whole way on synthetic data: make it, train, evaluate, export, verify, bench, detect, draw."""
    from infdet_deploy.demo import run

    run(out, sample)


if __name__ == "__main__":
    main()
