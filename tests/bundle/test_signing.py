"""A signed bundle is accepted with the right key; everything else is refused in one line."""

import json
import shutil
import subprocess
import sys

import pytest

from infdet_deploy.bundle.loading import load_bundle, store_thresholds
from infdet_deploy.bundle.manifest import write_manifest
from infdet_deploy.bundle.signing import check_signature, sign, signature_file
from infdet_deploy.cli import main
from infdet_deploy.errors import BundleError, InfdetError, UsageError
from tests.bundle.small_bundle import small_manifest, write_small_bundle


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def make_keys(folder, name, curve="P-256"):
    """The two commands that docs/bundle.md gives."""
    private, public = folder / f"{name}.private.pem", folder / f"{name}.public.pem"
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{curve}", "-out", private)
    openssl("pkey", "-in", private, "-pubout", "-out", public)
    return private, public


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the keys, is not installed")
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "theirs"):
        make_keys(folder, name)
    return folder


@pytest.fixture
def bundle(tmp_path):
    return write_small_bundle(tmp_path / "small.infdet")


@pytest.fixture
def package():
    pytest.importorskip("model_signing.signing", reason="model-signing is not installed", exc_type=ImportError)


def refused(bundle, key, *words):
    with pytest.raises(BundleError) as caught:
        check_signature(load_bundle(bundle), key)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    for word in ("small.infdet", *words):
        assert word in message


@pytest.mark.parametrize("curve", ["P-256", "P-384", "P-521"])
def test_a_signed_bundle_is_accepted_after_moving(bundle, tmp_path, keys, package, curve):
    private, public = make_keys(tmp_path, "k", curve)
    signature = sign(load_bundle(bundle), private)
    assert signature == tmp_path / "small.infdet.sig"
    check_signature(load_bundle(bundle), public)
    moved = bundle.rename(tmp_path / "moved.infdet")
    signature.rename(tmp_path / "moved.infdet.sig")
    check_signature(load_bundle(moved), public)


def test_another_key(bundle, keys, package):
    sign(load_bundle(bundle), keys / "ours.private.pem")
    refused(bundle, keys / "theirs.public.pem", "theirs.public.pem", "small.infdet.sig")
    sign(load_bundle(bundle), keys / "theirs.private.pem")
    check_signature(load_bundle(bundle), keys / "theirs.public.pem")


def test_no_signature(bundle, keys, package):
    refused(bundle, keys / "ours.public.pem", "is not signed")


def test_content_changed_with_its_hashes(bundle, keys, package):
    """A forgery that load_bundle cannot detect."""
    sign(load_bundle(bundle), keys / "ours.private.pem")
    (bundle / "head.float32.pt").write_bytes(b"evil")
    write_manifest(bundle, small_manifest(bundle))
    refused(bundle, keys / "ours.public.pem", "head.float32.pt")


def test_other_thresholds_need_another_signature(bundle, keys, package):
    loaded = load_bundle(bundle)
    sign(loaded, keys / "ours.private.pem")
    store_thresholds(loaded, (0.0, 0.0))
    refused(bundle, keys / "ours.public.pem", "manifest.json")
    sign(load_bundle(bundle), keys / "ours.private.pem")
    check_signature(load_bundle(bundle), keys / "ours.public.pem")


def test_an_added_file(bundle, keys, package):
    sign(load_bundle(bundle), keys / "ours.private.pem")
    (bundle / "more.npz").write_bytes(b"1")
    write_manifest(bundle, small_manifest(bundle))
    refused(bundle, keys / "ours.public.pem", "more.npz")


def test_a_damaged_signature(bundle, keys, package):
    file = sign(load_bundle(bundle), keys / "ours.private.pem")
    data = file.read_bytes()
    for other in (b"", b"{}", b"[]", b"3", bytes(50), data[:-50], b'{"verificationMaterial": {"publicKey": 3}}'):
        file.write_bytes(other)
        refused(bundle, keys / "ours.public.pem", "small.infdet.sig")
    text = json.loads(data)
    text["dsseEnvelope"]["payload"] = "e30="
    file.write_text(json.dumps(text))
    refused(bundle, keys / "ours.public.pem", "small.infdet.sig")


def test_unusable_keys(bundle, keys, package, tmp_path):
    openssl("genpkey", "-algorithm", "ed25519", "-out", tmp_path / "ed.pem")
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1", "-out", tmp_path / "k1.pem")
    locked = tmp_path / "locked.pem"
    openssl("pkey", "-in", keys / "ours.private.pem", "-aes256", "-passout", "pass:secret", "-out", locked)
    (tmp_path / "text.pem").write_text("not a key")
    loaded = load_bundle(bundle)
    for file in (*(tmp_path / f"{name}.pem" for name in ("ed", "k1", "locked", "text")), keys / "ours.public.pem"):
        with pytest.raises(UsageError, match=f"{file.name} cannot be used as private key"):
            sign(loaded, file)
    with pytest.raises(UsageError, match=r"ours\.private\.pem cannot be used as public key"):
        check_signature(loaded, keys / "ours.private.pem")
    with pytest.raises(UsageError, match=r"none\.pem cannot be used as private key \(no such file\)"):
        sign(loaded, tmp_path / "none.pem")
    assert not signature_file(bundle).exists()


def test_without_the_package(bundle, tmp_path, monkeypatch):
    for name in ("model_signing", "model_signing.signing", "model_signing.verifying"):
        monkeypatch.setitem(sys.modules, name, None)
    for call in (sign, check_signature):
        with pytest.raises(InfdetError, match=r"model-signing: pip install 'infdet-deploy\[sign\]'"):
            call(load_bundle(bundle), tmp_path / "key.pem")


def test_check_on_the_command_line(bundle, command):
    result = command("check", bundle)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"{bundle}: whole and unchanged, 8 files, 0.0 MB; signature not checked\n"
    (bundle / "head.float32.pt").write_bytes(b"HEAD")
    result = command("check", bundle, "--json")
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("infdet-deploy: ")
    assert "head.float32.pt" in line


def test_sign_and_check_on_the_command_line(bundle, keys, package, monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["infdet-deploy", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        return caught.value.code, *capsys.readouterr()

    assert run("sign", bundle, "--key", keys / "ours.private.pem") == (0, f"signed: {bundle}.sig\n", "")
    status, out, _ = run("check", bundle, "--public-key", keys / "ours.public.pem", "--json")
    assert (status, json.loads(out)["signed_with"]) == (0, str(keys / "ours.public.pem"))
    for key, expected in (("theirs.public.pem", 1), ("ours.private.pem", 2), ("none.pem", 2)):
        status, out, err = run("check", bundle, "--public-key", keys / key)
        assert (status, out) == (expected, "")
        (line,) = err.splitlines()
        assert line.startswith("infdet-deploy: ")
        assert key in line
    status, out, err = run("sign", bundle, "--key", keys / "none.pem")
    assert (status, out, len(err.splitlines())) == (2, "", 1)
