"""The one file that a hospital sends: sums over its labelled cases, and what they are sums of.

An uncompressed ``.npz`` without pickled objects; docs/hospitals.md lists its arrays. It holds no image,
no name and no row of a single case, and is pseudonymous, not anonymous: whoever knows all other cases
of a hospital can work out one from the sums.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from offsite.errors import InputError
from offsite.files import check_plain, digest_of
from offsite.training.heads.sums import RowSums
from offsite.written import write_own

FORMAT = "sums-of-a-hospital-1"
WIDEST = 8192
"""The most numbers a case: their second moments are 256 MiB."""
LEAST_PATIENTS = 5
_NAMES = frozenset({"format", "facts", "patients", "n", "sums", "second"})
_REMEDY = "Ask the hospital to send the file again, as `offsite site sums` wrote it"


@dataclass(frozen=True, kw_only=True, eq=False)
class HospitalSums:
    """What a hospital's file says.

    Attributes
    ----------
    site : str
        The hospital.
    classes : tuple of str
        C, in their order.
    reads : dict of str to str
        Digests of what the sums hang on, by name: see `offsite.workflows.site.fingerprints`.
    rows : RowSums
        A labelled case counts one; of altered copies of its picture each counts its share.
    patients : numpy.ndarray
        C: patients with a case of each class.
    made : dict
        Where and by what: JSON-able, without names.
    """

    site: str
    classes: tuple[str, ...]
    reads: Mapping[str, str]
    rows: RowSums
    patients: np.ndarray
    made: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over the numbers: the same for the same cases, whatever the site is called."""
        return digest_of(
            {name: array.tolist() for name, array in self.rows.arrays().items() if name != "second"}
        )


def write_sums(file: Path, sums: HospitalSums) -> None:
    """Write the file; the same sums give the same bytes.

    Raises
    ------
    InputError
        Code ``not_ours``: something that offsite did not write stands there.
    """
    facts = {
        "site": sums.site,
        "classes": list(sums.classes),
        "reads": dict(sums.reads),
        "made": dict(sums.made),
    }
    arrays = sums.rows.arrays()
    buffer = io.BytesIO()
    np.savez(
        buffer,
        allow_pickle=False,
        format=np.array(FORMAT),
        facts=np.array(json.dumps(facts, sort_keys=True)),
        patients=sums.patients.astype(np.int64),
        n=arrays["weights"],
        sums=arrays["sums"],
        second=arrays["second"],
    )
    write_own(file, buffer.getvalue())


def read_sums(file: Path) -> HospitalSums:
    """Read a hospital's file, refusing whatever is not one; sizes are looked at before any memory.

    Raises
    ------
    InputError
        Code ``not_sums``: the file is none, is damaged, or its numbers cannot be sums of cases.
        Code ``too_small_cells``: of a class there are fewer than `LEAST_PATIENTS` patients.
    """
    try:
        check_plain(file)
        arrays = _arrays(file)
        facts = json.loads(str(arrays["facts"]))
        rows = RowSums.from_arrays(
            {"weights": arrays["n"], "sums": arrays["sums"], "second": arrays["second"]}
        )
        sums = HospitalSums(
            site=str(facts["site"]),
            classes=tuple(map(str, facts["classes"])),
            reads={str(name): str(digest) for name, digest in facts["reads"].items()},
            rows=rows,
            patients=arrays["patients"],
            made=dict(facts["made"]),
        )
    except (OSError, KeyError, TypeError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise _no_sums(file, f"the file is not one of sums of a hospital ({error})") from error
    _check_numbers(file, sums)
    return sums


def check_cells(site: str, classes: tuple[str, ...], patients: np.ndarray, least: int) -> None:
    """Refuse classes of so few patients that their sums would tell of a single one.

    Examples
    --------
    >>> check_cells("north", ("none", "mild"), np.array([20, 0]), 5)
    >>> check_cells("north", ("none", "mild"), np.array([20, 2]), 5)
    Traceback (most recent call last):
    offsite.errors.InputError: north: mild has 2 patients, fewer than 5: its sums would tell of single ones. Label more cases of it, or leave its cases out with --leave-out-rare
    """
    few = [
        f"{name} has {count} patient{'s' if count > 1 else ''}"
        for name, count in zip(classes, patients.tolist(), strict=True)
        if 0 < count < least
    ]
    if few:
        raise InputError(
            f"{site}: {', '.join(few)}, fewer than {least}: its sums would tell of single ones",
            remedy="Label more cases of it, or leave its cases out with --leave-out-rare",
            code="too_small_cells",
        )


def _arrays(file: Path) -> dict[str, np.ndarray]:
    """The arrays, of bounded size and of the names and kinds that there are."""
    with zipfile.ZipFile(file) as archive:
        names = {member.filename.removesuffix(".npy") for member in archive.infolist()}
        if names != _NAMES:
            raise ValueError("it has other parts")
        if sum(member.file_size for member in archive.infolist()) > _most_bytes():
            raise ValueError("it unpacks to more than sums can be")
    with np.load(file, allow_pickle=False) as loaded:
        arrays = {name: np.asarray(loaded[name]) for name in _NAMES}
    if str(arrays["format"]) != FORMAT:
        raise ValueError("it has another format")
    return arrays


def _most_bytes() -> int:
    return WIDEST * (WIDEST + 1) // 2 * 8 + (64 << 20)


def _check_numbers(file: Path, sums: HospitalSums) -> None:
    """Refuse numbers that no cases can have: a fit would take them without a word."""
    rows, wide = sums.rows, sums.rows.second.shape[0]
    kinds = (rows.weights, rows.sums, rows.second)
    shaped = rows.weights.shape == sums.patients.shape == (len(sums.classes),)
    if not shaped or not 0 < wide <= WIDEST or len(sums.classes) < 2:
        raise _no_sums(file, "the parts of the file do not fit one another")
    if any(array.dtype != np.float64 or not np.isfinite(array).all() for array in kinds):
        raise _no_sums(file, "the sums are not all finite numbers of 64 bits")
    whole = np.rint(rows.weights)
    if (rows.weights < 0).any() or (abs(rows.weights - whole) > 1e-6).any() or not whole.sum():
        raise _no_sums(file, "the counts of cases are no whole numbers")
    if (sums.patients > whole).any() or ((sums.patients == 0) != (whole == 0)).any():
        raise _no_sums(file, "the counts of patients do not fit those of cases")
    if (rows.sums[whole == 0] != 0).any():
        raise _no_sums(file, "a class without cases has sums")
    known = whole > 0
    least = (rows.sums[known] ** 2 / rows.weights[known, None]).sum(axis=0)
    squares = np.diag(rows.second)
    if (squares - least < -1e-6 * np.maximum(squares, 1)).any():
        raise _no_sums(file, "the second moments are smaller than the sums allow")
    check_cells(sums.site, sums.classes, sums.patients, LEAST_PATIENTS)


def _no_sums(file: Path, problem: str) -> InputError:
    return InputError(problem, file=file, remedy=_REMEDY, code="not_sums")
