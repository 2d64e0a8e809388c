"""Install the wheel into an empty environment and detect with its pretrained network, without torch.

Usage: python .ci/check_wheel.py dist/infdet_deploy-*.whl — run by `make wheel` with the Python of the development
environment, which writes the clip.
"""

import json
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

import av

from infdet_deploy.video.sample import sample_frames

ROOT = Path(__file__).resolve().parents[1]


def run(*line: object, cwd: Path) -> str:
    """The standard output of a command that must succeed."""
    return subprocess.run([str(word) for word in line], cwd=cwd, check=True, stdout=subprocess.PIPE, text=True).stdout


def write_clip(path: Path) -> None:
    """A lossless clip of 96 frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 64, 64, "gray"
        for frame in sample_frames(96, 64):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        container.mux(stream.encode())


def main(wheel: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_clip(folder / "clip.mkv")
        venv.create(folder / "venv", with_pip=True)
        binaries = folder / "venv" / "bin"
        run(binaries / "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wheel, cwd=folder)
        installed = {entry["name"] for entry in json.loads(run(binaries / "pip", "list", "--format=json", cwd=folder))}
        assert not installed & {"torch", "onnx", "safetensors"}, installed
        assert list(folder.glob("venv/lib/python*/site-packages/infdet_deploy/py.typed")), (
            "py.typed is not in the wheel"
        )
        begun = time.monotonic()
        report = json.loads(run(binaries / "infdet-deploy", "detect", "clip.mkv", "--json", cwd=folder))
        (video,) = report["videos"]
        assert video["frames"] == 48, video  # at the pretrained network's 12.5 frames/s
        assert 0 < video["highest_score"] < 1, video
        took_s = time.monotonic() - begun
        print(f"{wheel.name}: installed without torch; the pretrained network's first detection took {took_s:.1f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
