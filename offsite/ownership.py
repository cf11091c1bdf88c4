"""What offsite wrote and may remove, and what it did not write and leaves alone."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from offsite.errors import InputError
from offsite.files import file_digest, in_the_way, is_plain_file

LINKED = "linked_folder"


def refuse_link(folder: str | Path) -> None:
    """Refuse a folder that is a link: what is cleared through it lies somewhere else.

    Raises
    ------
    InputError
        Code ``linked_folder``.
    """
    if Path(folder).is_symlink():
        raise InputError(
            "the folder is a link, and offsite clears no folder through one",
            remedy="Replace the link by a folder, or name another output",
            file=folder,
            code=LINKED,
        )


def remove_named(folder: str | Path, names: Iterable[str]) -> None:
    """Remove the plain files of a folder that a stage's record names.

    Links and folders of these names are left: offsite writes none.

    Raises
    ------
    InputError
        The folder is a link.
    """
    refuse_link(folder)
    for name in names:
        path = Path(folder) / name
        if is_plain_file(path):
            path.unlink(missing_ok=True)


def remove_written(folder: str | Path, digests: Mapping[str, str]) -> None:
    """Remove the files of a folder that are, byte for byte, as a stage wrote them.

    Parameters
    ----------
    folder : path
    digests : mapping of str to str
        SHA-256 (hex) by name, from the stage's record.

    Raises
    ------
    InputError
        The folder is a link (``linked_folder``), or something else has one of the names
        (``not_ours``): it is named, and stays.
    """
    refuse_link(folder)
    paths = {Path(folder) / name: digest for name, digest in digests.items()}
    for path, digest in paths.items():
        if path.is_symlink() or (
            path.exists() and not (is_plain_file(path) and file_digest(path) == digest)
        ):
            raise in_the_way(path)
    for path in paths:
        path.unlink(missing_ok=True)


def refuse_strangers(folder: str | Path, names: Iterable[str]) -> None:
    """Refuse to write where something has one of the names already.

    Raises
    ------
    InputError
        Code ``not_ours``, naming the first.
    """
    for name in names:
        path = Path(folder) / name
        if path.is_symlink() or path.exists():
            raise in_the_way(path)
