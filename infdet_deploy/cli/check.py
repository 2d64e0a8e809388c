"""`check`."""

from pathlib import Path
from typing import Annotated

import typer

from infdet_deploy.cli.app import BundleArg, JsonFlag, app
from infdet_deploy.cli.subjects import bundle_path
from infdet_deploy.console import print_json


@app.command()
def check(
    bundle: BundleArg = None,
    public_key: Annotated[
        Path | None, typer.Option(help="Also check the signature NAME.infdet.sig with this key (PEM).")
    ] = None,
    run: Annotated[
        bool,
        typer.Option("--run", help="Also run every ONNX stage on the golden clip, in a process with limits."),
    ] = False,
    time_limit: Annotated[float | None, typer.Option(metavar="SECONDS", help="Limit of --run [default: 120].")] = None,
    memory_limit: Annotated[float | None, typer.Option(metavar="GB", help="Limit of --run [default: 8].")] = None,
    json_output: JsonFlag = False,
) -> None:
    """Check that a bundle is complete, unchanged and, with --public-key, signed. Exit status 1 if not.

    Runs nothing of the bundle, except in a separate process with --run.
    """
    from infdet_deploy.bundle.signing import check as check_bundle
    from infdet_deploy.errors import UsageError
    from infdet_deploy.verification.trial_run import TrialBudget, trial_run

    if not run and (time_limit is not None or memory_limit is not None):
        raise UsageError("--time-limit and --memory-limit are for --run; add --run or leave them out")
    given = {"time_s": time_limit, "memory_gb": memory_limit}
    budget = TrialBudget(**{name: value for name, value in given.items() if value is not None})
    bundle = bundle_path(bundle)
    result = check_bundle(bundle, public_key)
    trial = trial_run(bundle, budget) if run else None
    passed = trial is None or trial.passed
    if json_output:
        print_json(result.to_dict() | ({} if trial is None else {"run": trial.to_dict(), "passed": passed}))
    else:
        signature = "signature not checked" if public_key is None else f"signed with the key of {public_key}"
        ran = "" if trial is None else f"; {trial}"
        print(f"{bundle}: whole and unchanged, {result.files} files, {result.bytes / 1e6:.1f} MB; {signature}{ran}")
    if not passed:
        raise typer.Exit(1)
