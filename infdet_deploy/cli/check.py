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
    json_output: JsonFlag = False,
) -> None:
    """Check that a bundle is complete, unchanged and, with --public-key, signed. Exit status 1 if not."""
    from infdet_deploy.bundle.signing import check as check_bundle

    bundle = bundle_path(bundle)
    result = check_bundle(bundle, public_key)
    if json_output:
        print_json(result.to_dict())
        return
    signature = "signature not checked" if public_key is None else f"signed with the key of {public_key}"
    print(f"{bundle}: whole and unchanged, {result.files} files, {result.bytes / 1e6:.1f} MB; {signature}")
