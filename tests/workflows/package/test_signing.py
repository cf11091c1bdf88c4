"""Signed packages: by whom, and what is refused where a signature is asked for."""

import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from offsite.errors import InputError
from offsite.workflows.cli import app
from offsite.workflows.package.folder import (
    export_package,
    load_package,
    load_record,
    write_package,
)
from offsite.workflows.package.signing import (
    check_signature,
    sign_package,
    signatures_of,
    trusted_folder,
)
from offsite.workflows.package.verification import SIGNATURE, SUMS, ModelRefused
from offsite.workflows.predict.running import opened_model
from tests.workflows.tiny import network, tiny_package


class Pair(NamedTuple):
    """A key as its two files."""

    private: Path
    public: Path


def openssl_key(folder: Path, name: str, kind: str = "ed25519") -> Pair:
    """A key as the docs say to make one."""
    private, public = folder / f"{name}.pem", folder / f"{name}-public.pem"
    make = ["openssl", "genpkey", "-algorithm", kind, "-out", private]
    subprocess.run(make, check=True, capture_output=True)
    show = ["openssl", "pkey", "-in", private, "-pubout", "-out", public]
    subprocess.run(show, check=True, capture_output=True)
    return Pair(private, public)


@pytest.fixture
def maker(tmp_path: Path) -> Pair:
    return openssl_key(tmp_path, "maker")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return tiny_package(tmp_path / "package").path


def test_a_signature_changes_neither_the_model_nor_its_identity(package: Path, maker: Pair) -> None:
    before = load_package(package).digest
    signer = sign_package(package, maker.private)
    assert check_signature(package, [maker.public]) == signer
    assert load_package(package).digest == load_record(package)[1] == before
    assert sign_package(package, maker.private) == signer
    assert list(signatures_of(package)) == [signer]


def test_a_second_signer_stands_beside_the_first(
    package: Path, maker: Pair, tmp_path: Path
) -> None:
    second = openssl_key(tmp_path, "second")
    signers = [sign_package(package, pair.private) for pair in (maker, second)]
    assert list(signatures_of(package)) == signers
    for pair, signer in zip((maker, second), signers, strict=True):
        assert check_signature(package, [pair.public]) == signer


def test_what_was_changed_after_signing_is_refused(package: Path, maker: Pair) -> None:
    sign_package(package, maker.private)
    signed = (package / SIGNATURE).read_bytes()
    record = load_package(package).record
    write_package(
        package, record.model_copy(update={"target": "other"}), network().state_dict(), {}
    )
    assert not (package / SIGNATURE).exists()  # it was the earlier package's
    (package / SIGNATURE).write_bytes(signed)
    load_package(package)  # by its own sums it is whole
    with pytest.raises(ModelRefused, match="was changed after") as caught:
        check_signature(package, [maker.public])
    assert caught.value.code == "bad_signature"


def test_who_is_not_trusted_is_named_by_fingerprint(
    package: Path, maker: Pair, tmp_path: Path
) -> None:
    other = openssl_key(tmp_path, "other")
    with pytest.raises(ModelRefused, match="nobody signed") as unsigned:
        check_signature(package, [maker.public])
    signer = sign_package(package, maker.private)
    with pytest.raises(ModelRefused, match=signer) as unknown:
        check_signature(package, [other.public])
    assert (unsigned.value.code, unknown.value.code) == ("unsigned", "unknown_signer")


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"ed25519 00 AA\n", b"ed25519 " + b"0" * 64 + b" " + b"=" * 88]
)
def test_a_signature_that_is_none_is_refused(package: Path, maker: Pair, content: bytes) -> None:
    (package / SIGNATURE).write_bytes(content)
    with pytest.raises(ModelRefused):
        check_signature(package, [maker.public])


def test_a_file_that_is_no_key_is_named(package: Path, maker: Pair, tmp_path: Path) -> None:
    of_other_kind = openssl_key(tmp_path, "x", kind="x25519")
    for wrong in (tmp_path / "lost.pem", package / SUMS, maker.public, of_other_kind.private):
        with pytest.raises(InputError) as caught:
            sign_package(package, wrong)
        assert (caught.value.code, caught.value.file) == ("no_key", str(wrong))
    with pytest.raises(InputError, match=r"lost\.pem") as lost:
        check_signature(package, [tmp_path / "lost.pem"])
    assert "sign anew" in str(lost.value)
    with pytest.raises(InputError, match="not the public part"):
        check_signature(package, [maker.private])


def test_trusted_keys_are_the_users(
    package: Path, maker: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    signer = sign_package(package, maker.private)
    with pytest.raises(InputError, match="no key is trusted"):
        check_signature(package)
    trusted_folder().mkdir(parents=True)
    (trusted_folder() / "maker.pem").write_bytes(maker.public.read_bytes())
    assert check_signature(package) == signer
    with opened_model(str(package), None, keys=[]) as opened:
        assert opened.path == package


def test_a_copy_is_signed_as_the_package_was(package: Path, maker: Pair, tmp_path: Path) -> None:
    signer = sign_package(package, maker.private)
    assert check_signature(export_package(package, tmp_path / "copy"), [maker.public]) == signer


def test_the_commands_sign_verify_and_refuse(package: Path, maker: Pair, tmp_path: Path) -> None:
    def ran(*words: str | Path) -> tuple[int, str]:
        done = CliRunner().invoke(app, [str(word) for word in words])
        if isinstance(done.exception, InputError):  # the program makes a sentence and 2 of it
            return 2, str(done.exception)
        return done.exit_code, " ".join(done.output.split())

    inbox = tmp_path / "inbox"
    inbox.mkdir()
    asked = ("predict", inbox, "-m", package, "-o", tmp_path / "out", "--key", maker.public)
    code, told = ran(*asked)
    assert (code, "nobody signed" in told) == (4, True)
    assert ran("model", "verify", package, "--key", maker.public)[0] == 4
    code, signer = ran("model", "sign", package, "--key", maker.private)
    assert code == 0
    code, told = ran("model", "verify", package, "--key", maker.public)
    assert code == 0
    assert signer in told
    assert "whether to trust" in ran("model", "verify", package)[1]
    code, told = ran(*asked)
    assert (code, "nothing to predict" in told) == (2, True)  # it is the inbox that is empty now
    other = openssl_key(tmp_path, "other")
    code, told = ran("model", "serve", package, "--images", inbox, "--key", other.public)
    assert code == 4
    assert signer in told
