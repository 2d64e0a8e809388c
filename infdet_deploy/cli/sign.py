"""`sign`."""

from pathlib import Path
from typing import Annotated

import typer

from infdet_deploy.cli.app import BundleArg, app
from infdet_deploy.cli.subjects import bundle_path


@app.command()
def sign(
    key: Annotated[Path, typer.Option(help="Private elliptic-curve key (PEM, not encrypted).")],
    bundle: BundleArg = None,
) -> None:
    """Sign a bundle: write NAME.infdet.sig next to it. `check --public-key` checks it."""
    from infdet_deploy.bundle.signing import sign as write_signature

    print(f"signed: {write_signature(bundle_path(bundle), key)}")
