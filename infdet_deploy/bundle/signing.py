"""A bundle's signature: a file beside it, made with a private elliptic-curve key, checked with the public one.

The signature is in the format of the model-signing package, whose own command can check it too. It covers every file of
the bundle and its manifest, and not the folder's name.
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
from infdet_deploy.errors import BundleError, UsageError, missing_package
from infdet_deploy.files import whole_file


def signature_file(bundle: Path | str) -> Path:
    """Where a bundle's signature lies: NAME.infdet.sig beside NAME.infdet, in which every file is listed."""
    path = Path(os.path.abspath(bundle))
    return path.with_name(f"{path.name}.sig")


@dataclass(frozen=True)
class CheckResult:
    """A bundle that is complete and unchanged. files, bytes: listed in its manifest; signed_with: the public key that
    its signature was checked with, None where it was not checked."""

    bundle: Path
    files: int
    bytes: int
    signed_with: Path | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        signed_with = None if self.signed_with is None else str(self.signed_with)
        return {
            "bundle": str(self.bundle),
            "passed": True,
            "files": self.files,
            "bytes": self.bytes,
            "signed_with": signed_with,
        }


def check(bundle: Path | str, public_key: Path | str | None = None) -> CheckResult:
    """Check that a bundle is complete and unchanged and, with a public key (PEM), that it is signed.

    Raises BundleError where it is not, and the errors of `check_signature`.
    """
    loaded, key = load_bundle(bundle), None if public_key is None else Path(public_key)
    if key is not None:
        check_signature(loaded, key)
    sizes = [entry.bytes for entry in loaded.manifest.files.values()]
    return CheckResult(Path(bundle), len(sizes), sum(sizes), key)


def sign(bundle: Bundle | Path | str, private_key: Path | str) -> Path:
    """Check a bundle and write its signature, replacing an earlier one; returns the path of the signature.

    private_key: PEM, not encrypted, of curve P-256, P-384 or P-521. Raises UsageError for a key that will not do, and
    InfdetError where model-signing is not installed.
    """
    bundle = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
    private_key = Path(private_key)
    config = _package("signing").Config()
    with _good_key(private_key, "private"):
        config.use_elliptic_key_signer(private_key=private_key)
    with whole_file(signature_file(bundle.path)) as temporary:
        config.sign(bundle.path, temporary)
    return signature_file(bundle.path)


def check_signature(bundle: Bundle, public_key: Path) -> None:
    """Check a bundle that `load_bundle` gave against its signature.

    Raises BundleError when there is no signature, or it is damaged, of another key or of other content; UsageError for
    a key that will not do, and InfdetError where model-signing is not installed.
    """
    config, signature = _package("verifying").Config(), signature_file(bundle.path)
    with _good_key(public_key, "public"):
        config.use_elliptic_key_verifier(public_key=public_key)
    if not signature.is_file():
        raise BundleError(f"{bundle.path} is not signed: there is no {signature}; infdet-deploy sign makes one")
    try:
        with contextlib.redirect_stdout(sys.stderr):  # the package prints its warnings
            config.verify(bundle.path, signature)
    except Exception as error:  # the package has no errors of its own: what a damaged signature raises has many types
        why = short(error) or "not made with this key, or changed"
        raise BundleError(
            f"{bundle.path} is not what was signed with {public_key}, or {signature.name} is damaged: {why}"
        ) from None


@contextlib.contextmanager
def _good_key(file: Path, kind: str) -> Iterator[None]:
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # what a key of another kind raises has many types
        raise UsageError(
            f"{file} is no {kind} key that can be used ({short(error, 80)}); expected a PEM file, not encrypted, of "
            "curve P-256, P-384 or P-521"
        ) from None


def _package(module: str) -> ModuleType:
    try:
        return importlib.import_module(f"model_signing.{module}")
    except ModuleNotFoundError as error:
        package = (error.name or "model_signing").split(".")[0]
        name = {"model_signing": "model-signing", "OpenSSL": "pyopenssl"}.get(package, package)
        raise missing_package(name, "sign", "signing and checking signatures") from None
