"""The C++ library, built once into a folder outside the sources."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import made_once
from tests.cpp.library import Native

SOURCE = Path(__file__).parents[2] / "cpp"


def missing() -> str:
    """What is not here that the C++ library needs to be built; empty where all is."""
    for tool in ("cmake", "c++"):
        if not shutil.which(tool):
            return f"{tool} is not installed"
    probe = "#include <nlohmann/json.hpp>\n"
    compiled = subprocess.run(
        ["c++", "-std=c++17", "-fsyntax-only", "-x", "c++", "-"], input=probe, text=True, capture_output=True
    )
    return "nlohmann/json.hpp is not installed (Debian: nlohmann-json3-dev)" if compiled.returncode else ""


def configure_and_build(build: Path) -> None:
    from openvino.utils import get_cmake_path

    openvino = f"-DOpenVINO_DIR={get_cmake_path()}"
    for line in (
        ["cmake", "-S", str(SOURCE), "-B", str(build), openvino, "-DINFDET_WERROR=ON"],
        ["cmake", "--build", str(build)],
    ):
        done = subprocess.run(line, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.fixture(scope="session")
def cpp_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build folder with the libraries and example programs in it."""
    if reason := missing():
        pytest.skip(reason)
    return made_once(tmp_path_factory, "cpp_build", configure_and_build)


@pytest.fixture(scope="session")
def native(cpp_build: Path) -> Native:
    return Native(cpp_build / "libinfdet.so")
