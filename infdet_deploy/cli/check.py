"""`check`."""

from pathlib import Path
from typing import Annotated

import typer

from infdet_deploy.cli.app import BundleArg, JsonFlag, app
from infdet_deploy.console import print_json


@app.command()
def check(
    bundle: BundleArg,
    public_key: Annotated[
        Path | None, typer.Option(help="Also check the signature NAME.infdet.sig, by this key (PEM).")
    ] = None,
    json_output: JsonFlag = False,
) -> None:
    """Check that a bundle is whole and unchanged, and signed by whom you trust; exit 1 when it is not."""
    from infdet_deploy.bundle.loading import load_bundle
    from infdet_deploy.bundle.signing import check_signature

    loaded = load_bundle(bundle)
    if public_key is not None:
        check_signature(loaded, public_key)
    files = loaded.manifest["files"]
    size = sum(entry["bytes"] for entry in files.values())
    if json_output:
        signed_with = None if public_key is None else str(public_key)
        print_json(
            {"bundle": str(bundle), "passed": True, "files": len(files), "bytes": size, "signed_with": signed_with}
        )
        return
    signature = "signature not checked" if public_key is None else f"signed with the key of {public_key}"
    print(f"{bundle}: whole and unchanged, {len(files)} files, {size / 1e6:.1f} MB; {signature}")
