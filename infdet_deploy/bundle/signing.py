"""A bundle's signature: a file next to it, made with a private elliptic-curve key and checked with the public key.

The signature has the format of the model-signing package, whose own command can check it too. It covers the manifest
and every other file of the bundle, but not the folder's name.
"""

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from infdet_deploy.bundle.loading import Bundle, load_bundle
from infdet_deploy.bundle.manifest import short
from infdet_deploy.bundle.pretrained import refuse_pretrained
from infdet_deploy.config import to_dict
from infdet_deploy.errors import BundleError, UsageError, missing_package
from infdet_deploy.files import whole_file


def signature_file(bundle: Path | str) -> Path:
    """The path of a bundle's signature: NAME.infdet.sig next to NAME.infdet, which may contain only listed files."""
    path = Path(os.path.abspath(bundle))
    return path.with_name(f"{path.name}.sig")


@dataclass(frozen=True)
class CheckResult:
    """A complete and unchanged bundle. files, bytes: number and size of its files. signed_with: the public key that
    verified its signature; None if the signature was not checked."""

    bundle: Path
    files: int
    bytes: int
    signed_with: Path | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return to_dict(self) | {"passed": True}


def check(bundle: Path | str, public_key: Path | str | None = None) -> CheckResult:
    """Check that a bundle is complete and unchanged and, with a public key (PEM), that it is signed.

    Raises BundleError if it is not, and the errors of `check_signature`.
    """
    loaded, key = load_bundle(bundle), None if public_key is None else Path(public_key)
    if key is not None:
        check_signature(loaded, key)
    sizes = [entry.bytes for entry in loaded.manifest.files.values()]
    return CheckResult(Path(bundle), len(sizes), sum(sizes), key)


def sign(bundle: Bundle | Path | str, private_key: Path | str) -> Path:
    """Check a bundle and write its signature, replacing an earlier one; returns the path of the signature.

    private_key: PEM, not encrypted, of curve P-256, P-384 or P-521. Raises UsageError for any other key, InfdetError if
    model-signing is not installed.
    """
    bundle = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
    refuse_pretrained(bundle.path)
    config = _package("signing").Config()
    with _key(Path(private_key), "private") as key:
        config.use_elliptic_key_signer(private_key=key)
    with whole_file(signature_file(bundle.path)) as temporary:
        config.sign(bundle.path, temporary)
    return signature_file(bundle.path)


def check_signature(bundle: Bundle, public_key: Path) -> None:
    """Check the signature of a bundle.

    Raises BundleError if the signature is missing, damaged, or of another key or content; UsageError for a key that
    cannot be used; InfdetError if model-signing is not installed.
    """
    config, signature = _package("verifying").Config(), signature_file(bundle.path)
    with _key(public_key, "public") as key:
        config.use_elliptic_key_verifier(public_key=key)
    if not signature.is_file():
        raise BundleError(f"{bundle.path} is not signed: there is no {signature}; sign it with `infdet-deploy sign`")
    try:
        with contextlib.redirect_stdout(sys.stderr):  # the package prints its warnings
            config.verify(bundle.path, signature)
    except Exception as error:  # a damaged signature raises errors of many types
        why = short(error) or "not made with this key, or changed"
        raise BundleError(
            f"{bundle.path} is not what was signed with {public_key}, or {signature.name} is damaged: {why}"
        ) from None


@contextlib.contextmanager
def _key(file: Path, kind: str) -> Iterator[Path]:
    """Yield the file of a key; errors in the block become a UsageError about it."""
    try:
        yield file
    except Exception as error:  # of many types
        why = "no such file" if isinstance(error, FileNotFoundError) else short(error, 80)
        raise UsageError(
            f"{file} cannot be used as {kind} key ({why}); expected a PEM file, not encrypted, of curve P-256, P-384 "
            "or P-521"
        ) from None


def _package(module: str) -> ModuleType:
    try:
        return importlib.import_module(f"model_signing.{module}")
    except ModuleNotFoundError as error:
        package = (error.name or "model_signing").split(".")[0]
        name = {"model_signing": "model-signing", "OpenSSL": "pyopenssl"}.get(package, package)
        raise missing_package(name, "sign", "signing and checking signatures") from None
