"""``offsite model sign``: say who made a package."""

from pathlib import Path
from typing import Annotated

import typer


def sign(
    package: Annotated[Path, typer.Argument(metavar="PACKAGE", help="Folder of a package.")],
    key: Annotated[
        Path, typer.Option("--key", metavar="PEM", help="Ed25519 private key, without passphrase.")
    ],
) -> None:
    """Sign a package, before it is registered or sent.

    Takes a package and a private key; gives the package a file SIGNATURE, and prints the fingerprint
    of the key: tell it to whoever shall trust it, by another way than the package's.

    Example: offsite model sign package --key signing.pem
    """
    from offsite.workflows.commands.options import refusing
    from offsite.workflows.package.signing import sign_package

    with refusing():
        typer.echo(sign_package(package, key))
