"""`doctor`."""

from infdet_deploy.cli.app import JsonFlag, app
from infdet_deploy.console import print_json, table


@app.command()
def doctor(json_output: JsonFlag = False) -> None:
    """Show what this machine can run and what to install for more."""
    from infdet_deploy.runtime.doctor import examine

    found = examine()
    if json_output:
        print_json(found.to_dict())
        return
    machine = found.machine
    print(f"infdet-deploy {found.version}, Python {machine.python}, {machine.system}")
    print(f"{machine.processor}, {machine.cores} cores, {' '.join(machine.features) or 'no known vector units'}")
    print(f"NVIDIA GPU: {'yes' if machine.nvidia_gpu else 'none found'}")
    backends = found.backends.items()
    rows = [[n, "ready" if b.available else "not installed", ", ".join(b.precisions)] for n, b in backends]
    refused = (f"{', '.join(b.refused)} on {n} needs VNNI" for n, b in backends if b.refused)
    table("Backends", ["backend", "state", "precisions"], rows, "\n".join(refused))
    rows = [[n, p.version or "–", p.purpose, p.install or ""] for n, p in found.packages.items()]
    table("Packages", ["package", "version", "for", "to install"], rows)
