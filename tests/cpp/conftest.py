"""The C++ library, built once outside the source tree."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import made_once
from tests.cpp.library import Native
from tests.paths import ROOT

SOURCE = ROOT / "cpp"


def missing() -> str:
    """The first missing tool or header that the C++ library needs; empty if nothing is missing."""
    for tool in ("cmake", "c++"):
        if not shutil.which(tool):
            return f"{tool} is not installed"
    probe = "#include <nlohmann/json.hpp>\n"
    compiled = subprocess.run(
        ["c++", "-std=c++17", "-fsyntax-only", "-x", "c++", "-"], input=probe, text=True, capture_output=True
    )
    return "nlohmann/json.hpp is not installed (Debian: nlohmann-json3-dev)" if compiled.returncode else ""


def run(*line: object, **options: Any) -> str:
    """Run a command that must succeed; returns its output. options: of subprocess.run."""
    done = subprocess.run([str(word) for word in line], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def configure_and_build(build: Path, *options: str) -> None:
    run("cmake", "-S", SOURCE, "-B", build, "-DINFDET_WERROR=ON", "-DINFDET_TESTS=ON", *options)
    run("cmake", "--build", build, "--parallel")


def with_openvino() -> str:
    from openvino.utils import get_cmake_path

    return f"-DOpenVINO_DIR={get_cmake_path()}"


@pytest.fixture(scope="session")
def cpp_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build folder with the libraries and example programs."""
    if reason := missing():
        pytest.skip(reason)
    options = (with_openvino(), "-DINFDET_FUZZ=OFF")
    return made_once(tmp_path_factory, "cpp_build", lambda build: configure_and_build(build, *options))


@pytest.fixture(scope="session")
def native(request: pytest.FixtureRequest) -> Native:
    """The library at INFDET_LIBRARY, for example a sanitized one; else the one built here."""
    return Native(Path(os.environ.get("INFDET_LIBRARY") or request.getfixturevalue("cpp_build") / "libinfdet.so"))
