"""The native tests, also under sanitizers, and programs built against an installed library."""

import os
import subprocess

import pytest

from tests.cpp.conftest import configure_and_build, missing, run, with_openvino

PROGRAM = """
#include <cstdio>
#include "infdet.hpp"
int main() {
  infdet_options options = infdet_default_options();
  options.backend = "none";
  try {
    infdet::Model model("none.infdet", options);
  } catch (const infdet::Error &error) {
    std::printf("%u %s: %s\\n", infdet_abi_version(), infdet_version(), error.what());
  }
}
"""
CMAKE = """
cmake_minimum_required(VERSION 3.18)
project(consumer LANGUAGES CXX)
find_package(infdet 0.1 REQUIRED)
foreach(kind shared static)
  add_executable(program-${kind} program.cpp)
  target_link_libraries(program-${kind} PRIVATE infdet::${kind})
endforeach()
"""
OUTPUT = "1 0.1.0: no backend 'none'; this build has openvino\n"


def test_native_tests(cpp_build):
    run("ctest", "--test-dir", cpp_build, "--output-on-failure")


def sanitized(build, sanitizers, flags, *options):
    """Build the library, its tests and examples with sanitizers; returns the build folder."""
    if reason := missing():
        pytest.skip(reason)
    options = (*options, "-DCMAKE_BUILD_TYPE=None", f"-DCMAKE_CXX_FLAGS={flags} -g1")
    configure_and_build(build, f"-DINFDET_SANITIZE={sanitizers}", *options)
    return build


@pytest.fixture(scope="module")
def checked_addresses(tmp_path_factory):
    """Not optimised: undefined-behaviour checks compile four times as fast."""
    return sanitized(tmp_path_factory.mktemp("addresses") / "build", "address,undefined", "-O0", with_openvino())


def test_addresses_and_undefined_behaviour(checked_addresses):
    run("ctest", "--test-dir", checked_addresses, "--output-on-failure")


def test_threads(tmp_path):
    without = ("-DINFDET_OPENVINO=OFF", "-DINFDET_EXAMPLES=OFF", "-DINFDET_FUZZ=OFF")
    build = sanitized(tmp_path / "build", "thread", "-O1", *without)
    run("ctest", "--test-dir", build, "--output-on-failure")


def test_addresses_with_openvino(checked_addresses, cpp_build, stream_bundle, tiny_clip, tmp_path):
    """OpenVINO is not instrumented, but its inputs and outputs are. Leaks are found everywhere."""
    clip = tmp_path / "clip.y4m"
    frames = b"".join(b"FRAME\n" + frame.tobytes() for frame in tiny_clip(60))
    clip.write_bytes(b"YUV4MPEG2 W64 H64 F25:1 Ip Cmono\n" + frames)

    def detected(build):
        # or TBB loads a library in a way that AddressSanitizer refuses
        environment = os.environ | {"TBB_ENABLE_SANITIZERS": "1"}
        with clip.open("rb") as stdin:
            return run(build / "examples" / "infdet-detect-y4m", stream_bundle, stdin=stdin, env=environment)

    lines = detected(checked_addresses)
    assert lines
    assert lines == detected(cpp_build)


@pytest.fixture(scope="module")
def prefix(cpp_build, tmp_path_factory):
    """An installed library, and the source of a program next to it."""
    folder = tmp_path_factory.mktemp("installed")
    run("cmake", "--install", cpp_build, "--prefix", folder)
    (folder / "program.cpp").write_text(PROGRAM)
    (folder / "CMakeLists.txt").write_text(CMAKE)
    return folder


def test_programs_by_find_package(prefix):
    """With the shared library and with the static one."""
    run("cmake", "-S", prefix, "-B", prefix / "out", f"-Dinfdet_DIR={prefix}/lib/cmake/infdet", with_openvino())
    run("cmake", "--build", prefix / "out")
    for kind in ("shared", "static"):
        assert run(prefix / "out" / f"program-{kind}") == OUTPUT


@pytest.mark.parametrize("libdir", ["lib", "lib/x86_64-linux-gnu"])
@pytest.mark.parametrize("static", [False, True])
def test_a_program_by_pkg_config(cpp_build, prefix, tmp_path, libdir, static):
    """Debian has libraries one folder deeper. With the static library, the program needs what it links."""
    if subprocess.run(["pkg-config", "--version"], capture_output=True).returncode:
        pytest.skip("pkg-config is not installed")
    run("cmake", cpp_build, f"-DCMAKE_INSTALL_LIBDIR={libdir}")
    run("cmake", "--install", cpp_build, "--prefix", tmp_path)
    run("cmake", cpp_build, "-DCMAKE_INSTALL_LIBDIR=lib")
    if static:
        (tmp_path / libdir / "libinfdet.so").unlink()
    found = ["env", f"PKG_CONFIG_PATH={tmp_path}/{libdir}/pkgconfig", "pkg-config", *["--static"] * static]
    flags = run(*found, "--cflags", "--libs", "infdet").split()
    program, paths = (
        tmp_path / "program",
        [f"{tmp_path}/{libdir}", *(os.path.dirname(one) for one in flags if one[0] == "/")],
    )
    run("c++", "-std=c++17", prefix / "program.cpp", "-o", program, *flags, *(f"-Wl,-rpath,{path}" for path in paths))
    assert run(program) == OUTPUT


def test_older_standards_get_one_clear_message(prefix, tmp_path):
    (tmp_path / "old.cpp").write_text('#include "infdet.hpp"\n')
    line = ["c++", "-std=c++11", "-fsyntax-only", f"-I{prefix}/include", str(tmp_path / "old.cpp")]
    assert "infdet.hpp needs C++17" in subprocess.run(line, capture_output=True, text=True).stderr


def test_the_library_is_small_and_exports_only_its_interface(prefix, tmp_path):
    library = prefix / "lib" / "libinfdet.so"
    stripped = tmp_path / "libinfdet.so"
    run("strip", "--strip-unneeded", library, "-o", stripped)
    assert os.path.getsize(stripped) < 2_000_000
    names = [line.split()[-1] for line in run("nm", "-D", "--defined-only", library).splitlines()]
    assert "infdet_open" in names
    assert all(name.startswith("infdet_") for name in names)
