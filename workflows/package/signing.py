"""Who made a package: Ed25519 signatures over the bytes of its ``SHA256SUMS``.

The sums show that nothing was changed since they were written; a signature shows by whom. Keys are
PEM files, as ``openssl genpkey -algorithm ed25519`` makes them. ``SIGNATURE`` holds one line for
each signer, and no key: a key that came with the package would vouch for itself.
"""

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from offsite.errors import InputError
from offsite.files import write_text
from offsite.locks import writing
from offsite.workflows.package.verification import (
    SIGNATURE,
    SUMS,
    refused,
    verify_package,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

_LINE = re.compile(r"ed25519 ([0-9a-f]{64}) ([A-Za-z0-9+/=]{88})")
_MOST_KEY_BYTES = 64 << 10
_MAKE_KEY = (
    "Make one with `openssl genpkey -algorithm ed25519 -out signing.pem`, its public part with"
)
_PUBLIC = "`openssl pkey -in signing.pem -pubout -out public.pem`"


def trusted_folder() -> Path:
    """Return the folder of the public keys (``*.pem``) that this user trusts.

    Examples
    --------
    >>> trusted_folder().parts[-2:]
    ('offsite', 'trusted_keys')
    """
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "offsite" / "trusted_keys"


def sign_package(path: str | Path, key: str | Path) -> str:
    """Add a signature to a package that is whole; return the fingerprint of the key.

    A key signs once; a second signer is a second line.

    Parameters
    ----------
    path : path
        The package.
    key : path
        PEM file of an Ed25519 private key without a passphrase.

    Raises
    ------
    InputError
        The file holds no such key.
    ModelRefused
        The package is not as it was made.
    """
    folder = Path(path)
    private = _private_key(Path(key))
    verify_package(folder)
    with writing(folder.absolute().parent, "sign"):  # a package holds no other files
        return _signed(folder, private)


def _signed(folder: Path, private: "Ed25519PrivateKey") -> str:
    print_of = fingerprint_of(private.public_key())
    others = {signer: text for signer, text in signatures_of(folder).items() if signer != print_of}
    made = base64.b64encode(private.sign((folder / SUMS).read_bytes())).decode()
    lines = [f"ed25519 {signer} {text}\n" for signer, text in {**others, print_of: made}.items()]
    write_text(folder / SIGNATURE, "".join(lines))
    return print_of


def check_signature(path: str | Path, keys: Sequence[str | Path] = ()) -> str:
    """Return the fingerprint of a trusted key that signed a package.

    Parameters
    ----------
    path : path
        The package; its files are compared with its sums elsewhere (`load_package`).
    keys : sequence of paths
        PEM files of public keys to trust; without any, those of `trusted_folder`.

    Raises
    ------
    InputError
        A file holds no public key, or no key is trusted at all.
    ModelRefused
        Code ``unsigned``, ``unknown_signer`` (with the fingerprints of those who signed), or
        ``bad_signature``: changed after it was signed.
    """
    from cryptography.exceptions import InvalidSignature

    folder = Path(path)
    trusted = {fingerprint_of(key): key for key in map(_public_key, _trusted(keys))}
    signed = signatures_of(folder)
    if not signed:
        raise refused(
            folder, "nobody signed the package", "Ask its maker for a signed one", "unsigned"
        )
    known = [signer for signer in signed if signer in trusted]
    if not known:
        raise refused(
            folder,
            f"it is signed by {', '.join(signed)}, and none of these keys is trusted here",
            "If the maker confirms the fingerprint by another way, put the public key into"
            f" {trusted_folder()}, or name it by --key",
            "unknown_signer",
        )
    content = (folder / SUMS).read_bytes()
    for signer in known:
        try:
            trusted[signer].verify(base64.b64decode(signed[signer]), content)
        except InvalidSignature:
            raise refused(
                folder,
                f"the package was changed after {signer} signed it",
                "Do not use it; ask its maker for it again",
                "bad_signature",
            ) from None
    return known[0]


def signatures_of(folder: Path) -> dict[str, str]:
    """Return the signatures of a package (base64) by the fingerprint of their key.

    Raises
    ------
    ModelRefused
        ``SIGNATURE`` is not as it was written.
    """
    path = folder / SIGNATURE
    if not path.is_file():
        return {}
    lines = path.read_bytes().decode("ascii", "replace").splitlines()
    matches = [_LINE.fullmatch(line) for line in lines]
    try:
        found = {match[1]: match[2] for match in matches if match}
        lengths = {len(base64.b64decode(text, validate=True)) for text in found.values()}
    except binascii.Error:
        lengths = set()
    if not all(matches) or len(found) != len(lines) or lengths != {64}:
        raise refused(
            folder, f"{SIGNATURE} is not as it was written", "Ask for it again", "bad_signature"
        )
    return found


def fingerprint_of(key: "Ed25519PublicKey") -> str:
    """Return SHA-256 (hex) of the 32 bytes of a public key."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()


def _trusted(keys: Sequence[str | Path]) -> list[Path]:
    paths = [Path(key) for key in keys] or sorted(trusted_folder().glob("*.pem"))
    if not paths:
        raise InputError(
            "no key is trusted here",
            file=trusted_folder(),
            remedy="Put the public key of the model's maker (PEM) there, or name it by --key",
            code="no_trusted_key",
        )
    return paths


def _private_key(path: Path) -> "Ed25519PrivateKey":
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    content = _content(path)
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _no_key(path, "private", f"{_MAKE_KEY} {_PUBLIC}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _no_key(path, "private", f"{_MAKE_KEY} {_PUBLIC}")
    return key


def _public_key(path: Path) -> "Ed25519PublicKey":
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    content = _content(path)
    try:
        key = load_pem_public_key(content)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _no_key(path, "public", f"Get the maker's: {_PUBLIC}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise _no_key(path, "public", f"Get the maker's: {_PUBLIC}")
    return key


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_KEY_BYTES)
    except OSError as error:
        raise InputError(
            f"the key cannot be read ({error.strerror})",
            file=path,
            remedy="Name a PEM file. A lost key cannot be had again: make a new one, sign anew,"
            " and tell those who trust the old one",
            code="no_key",
        ) from error


def _no_key(path: Path, kind: str, remedy: str) -> InputError:
    return InputError(
        f"not the {kind} part of an Ed25519 key without a passphrase",
        file=path,
        remedy=remedy,
        code="no_key",
    )
