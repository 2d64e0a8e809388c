"""Install the wheel into an empty environment and detect with it, without torch.

Usage: python .ci/check_wheel.py dist/infdet_deploy-*.whl — run by `make wheel` with the Python of the development
environment, which makes the small bundle.
"""

import dataclasses
import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run(*line: object, cwd: Path) -> str:
    """The standard output of a command that must succeed."""
    return subprocess.run([str(word) for word in line], cwd=cwd, check=True, stdout=subprocess.PIPE, text=True).stdout


def write_bundle_and_clip(folder: Path) -> None:
    """A bundle of a narrow network with random weights, and a lossless clip of 48 frames."""
    import av

    from infdet_deploy.model.presets import preset
    from infdet_deploy.model.weights import random_network, save_network
    from infdet_deploy.video.sample import sample_frames

    network = random_network(dataclasses.replace(preset("tiny"), channel_divisor=8))
    save_network(folder / "small.safetensors", network, network.config)
    run(sys.executable, "-m", "infdet_deploy", "export", "small.safetensors", "--out", "small.infdet", cwd=folder)
    with av.open(str(folder / "clip.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 64, 64, "gray"
        for frame in sample_frames(48, 64):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        container.mux(stream.encode())


def main(wheel: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_bundle_and_clip(folder)
        venv.create(folder / "venv", with_pip=True)
        binaries = folder / "venv" / "bin"
        run(binaries / "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wheel, cwd=folder)
        installed = {entry["name"] for entry in json.loads(run(binaries / "pip", "list", "--format=json", cwd=folder))}
        assert not installed & {"torch", "onnx", "safetensors"}, installed
        assert list(folder.glob("venv/lib/python*/site-packages/infdet_deploy/py.typed")), (
            "py.typed is not in the wheel"
        )
        report = json.loads(run(binaries / "infdet-deploy", "detect", "small.infdet", "clip.mkv", "--json", cwd=folder))
        (video,) = report["videos"]
        assert video["frames"] == 48, video
        assert 0 < video["highest_score"] < 1, video
        print(f"{wheel.name}: installed without torch, detect ran on {video['frames']} frames")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
