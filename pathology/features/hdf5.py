"""Open an HDF5 file that may come from anywhere: what it holds lies in it, and fits in memory.

HDF5 can point elsewhere (external and soft links, external storage, virtual datasets), so that
a "feature file" reads any file of this machine, and can declare more than it stores, so that 4 kB
ask for a terabyte. Neither is of use for features.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from offsite.errors import InputError

_MOST_MEMBERS = 1000
# Deflate packs a thousand to one at best; a dataset that was never filled stores nothing.
_MOST_PACKED = 1100
_SMALL = 1 << 20
_MOST_BYTES = 16 << 30


@contextmanager
def opened_hdf5(path: str | Path, *, first: str, again: str) -> Iterator[h5py.File]:
    """Open an HDF5 file; what cannot be read of it, now or later, is refused by its name.

    Parameters
    ----------
    first, again : str
        What to do where there is no file, and where it is damaged.

    Raises
    ------
    InputError
        Code ``not_embedded`` or ``bad_feature_file``: damaged, pointing outside of itself, or
        declaring more than it can hold.
    """
    if not Path(path).is_file():
        raise InputError("no such feature file", file=path, remedy=first, code="not_embedded")
    what = "the file cannot be read as HDF5"
    try:
        # Files are renamed into place, so that no lock is needed, which network drives lack.
        with h5py.File(path, "r", locking=False) as file:
            what = "a part of the file cannot be read"
            if fault := _fault(file):
                raise InputError(fault, file=path, remedy=again, code="bad_feature_file")
            yield file
    except (OSError, RuntimeError, KeyError) as error:  # what HDF5 says of damage
        raise InputError(what, file=path, remedy=again, code="bad_feature_file") from error


def _fault(file: h5py.File) -> str:
    """What stands against a file, or ""; nothing outside of it is opened to find out."""
    groups, seen = [file["/"]], 0
    while groups:
        group = groups.pop()
        for name in group:
            seen += 1
            if seen > _MOST_MEMBERS:
                return f"more than {_MOST_MEMBERS} members are no feature file's"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                return f"'{name}' is a link to something else, and links are not followed"
            member = group[name]
            if isinstance(member, h5py.Group):
                groups.append(member)  # one that holds itself ends by the number of members
            elif isinstance(member, h5py.Dataset) and (fault := _fault_of(member)):
                return f"'{name}' {fault}"
    return ""


def _fault_of(dataset: h5py.Dataset) -> str:
    if dataset.external or dataset.is_virtual:
        return "keeps its numbers in other files, and these are not read"
    declared = dataset.size * dataset.dtype.itemsize if dataset.size else 0
    stored = dataset.id.get_storage_size()
    if declared > _MOST_BYTES or declared > _SMALL + _MOST_PACKED * stored:
        return f"declares {declared:,} bytes and stores {stored:,}"
    return ""
