"""Memory of a process that opens and closes a bundle again and again, with OpenVINO. Run by hand:

python -m tools.cpp_cycles build/cpp/libinfdet.so NAME.infdet [CYCLES]
"""

import ctypes
import os
import sys
from pathlib import Path

import numpy as np

from tests.cpp.library import Info, Native


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


def main(library: str, bundle: str, cycles: str = "200") -> None:
    """Each cycle opens the model, detects in a clip of 32 frames, leaves a stream open behind it and closes both."""
    native, steps = Native(Path(library)), 10
    for cycle in range(int(cycles)):
        if cycle % max(1, int(cycles) // steps) == 0:
            print(f"{cycle} cycles: {resident_mb():.1f} MB", flush=True)
        model = native.open(bundle)
        info = Info(struct_size=ctypes.sizeof(Info))
        native.call("infdet_describe", model, info)
        clip = np.random.default_rng(cycle).integers(0, 256, (32, info.size, info.size), np.uint8)
        native.detect(model, clip, 25.0)
        stream = native.open_stream(model, 25.0)
        native.push(stream, clip)
        native.close(model)
        native.call("infdet_close_stream", stream)
    print(f"{cycles} cycles: {resident_mb():.1f} MB")


if __name__ == "__main__":
    main(*sys.argv[1:])
