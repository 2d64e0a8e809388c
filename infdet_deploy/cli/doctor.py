"""`doctor`."""

from typing import TYPE_CHECKING, Annotated

import typer

from infdet_deploy.cli.app import JsonFlag, app
from infdet_deploy.console import print_json, progress, table

if TYPE_CHECKING:
    from infdet_deploy.runtime.doctor import BackendState


@app.command()
def doctor(
    measure: Annotated[bool, typer.Option("--measure/--no-measure", help="Measure the backends' speed.")] = True,
    json_output: JsonFlag = False,
) -> None:
    """Show what this machine can run and how fast, and what to install for more.

    The speed is that of the pretrained network in float32, measured for a few seconds.
    """
    from infdet_deploy.runtime.doctor import examine

    with progress("measure"):
        found = examine(measure)
    if json_output:
        print_json(found.to_dict())
        return
    machine = found.machine
    print(f"infdet-deploy {found.version}, Python {machine.python}, {machine.system}")
    print(f"{machine.processor}, {machine.cores} cores, {' '.join(machine.features) or 'no known vector units'}")
    print(f"NVIDIA GPU: {'yes' if machine.nvidia_gpu else 'none found'}")
    backends = found.backends.items()
    rows = [[n, "ready" if b.available else "not installed", ", ".join(b.precisions), _speed(b)] for n, b in backends]
    notes = ["frames/s: of the pretrained network, float32, from frames to scores"] if measure else []
    notes += [f"{', '.join(b.refused)} on {n} needs VNNI" for n, b in backends if b.refused]
    notes += [f"{n}: {b.error}" for n, b in backends if b.error]
    table("Backends", ["backend", "state", "precisions", "frames/s"], rows, "\n".join(notes))
    rows = [[n, p.version or "–", p.purpose, p.install or ""] for n, p in found.packages.items()]
    table("Packages", ["package", "version", "for", "to install"], rows)


def _speed(state: "BackendState") -> str:
    return "–" if state.frames_per_s is None else f"{state.frames_per_s:.0f}"
