"""`sign`."""

from pathlib import Path
from typing import Annotated

import typer

from infdet_deploy.cli.app import BundleArg, app


@app.command()
def sign(
    bundle: BundleArg,
    key: Annotated[Path, typer.Option(help="Private elliptic-curve key (PEM, not encrypted).")],
) -> None:
    """Sign a bundle: write NAME.infdet.sig beside it, which `check --public-key` checks."""
    from infdet_deploy.bundle.signing import sign as write_signature

    assert bundle is not None  # the newest where none is named
    print(f"signed: {write_signature(bundle, key)}")
