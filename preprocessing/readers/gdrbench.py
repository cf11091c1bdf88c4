"""The GDRBench layout: ``images/SITE/class/file``, ``splits/SITE_{train,crossval}.txt``.

Labels are those of the split lists, never of the folders; an image is known by its path, since
IDRID repeats file names between folders (Che et al. 2023, arXiv 2307.04378, and its public lists).
"""

import re
from collections.abc import Sequence
from pathlib import Path

from offsite.errors import InputError
from offsite.preprocessing.cohort.table import Cohort
from offsite.preprocessing.readers.building import GRADES, cohort_of

_LISTS = {"train": "train", "crossval": "val"}
_MAX_LINES = 2_000_000

# Where a file's name tells the patient: 1_left.jpeg, 347_l1.jpg, 347_r2.jpg.
_EYE = re.compile(r"^(?P<patient>.+)_(?P<eye>left|right|l|r)(?P<number>\d*)$")
_NAMED_BY_PATIENT = ("EYEPACS", "RLDR", "DEEPDR")


def read_gdrbench(
    folder: str | Path, *, held_out: Sequence[str] = (), lists: str | Path | None = None
) -> Cohort:
    """Read the sites of a GDRBench folder.

    ``train`` lists become split train and ``crossval`` lists val; of sites in ``held_out`` both are
    test, as in the benchmark. EYEPACS, RLDR and DEEPDR name files by patient; elsewhere each image
    counts as a patient of its own, for want of a better. Patients may straddle the official splits
    (RLDR has such): audit before training.

    Parameters
    ----------
    folder : path
        With ``images/`` and ``splits/``. Images need not be there to audit the lists.
    held_out : sequence of str
        Site names, upper case as on disk.
    lists : path, optional
        The folder of the lists, if it is not ``folder/splits``.

    Raises
    ------
    InputError
        Code ``bad_line`` (with file and row), ``unknown_site`` or ``no_images``.
    """
    root = Path(folder)
    text_files = sorted(Path(lists or root / "splits").glob("*_*.txt"))
    files = [file for file in text_files if file.stem.rsplit("_", 1)[1] in _LISTS]
    sites = {file.stem.rsplit("_", 1)[0] for file in files}
    unknown = sorted(set(held_out) - sites)
    if unknown:
        raise InputError(
            f"no list of site {', '.join(unknown)}",
            file=root,
            code="unknown_site",
            remedy=f"The sites are {', '.join(sorted(sites))}",
        )
    rows: list[dict[str, str]] = []
    for file in files:
        site, which = file.stem.rsplit("_", 1)
        split = "test" if site in held_out else _LISTS[which]
        rows += [_row(path, label, site, split) for path, label in _lines(file)]
    return cohort_of(rows, GRADES, root, "GDRBench lists")


def _lines(file: Path) -> list[tuple[str, int]]:
    entries = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        path, _, label = line.strip().rpartition(" ")
        unsafe = path.startswith("/") or ".." in Path(path).parts
        if not path or unsafe or label not in {"0", "1", "2", "3", "4"} or number > _MAX_LINES:
            raise InputError(
                f"'{line[:80]}' is not a relative path, one space and a grade from 0 to 4",
                file=file,
                row=number,
                code="bad_line",
                remedy="Restore the list as the benchmark gives it",
            )
        entries.append((path, int(label)))
    return entries


def _row(path: str, label: int, site: str, split: str) -> dict[str, str]:
    inner = path.split("/", 1)[1] if "/" in path else path
    stem = Path(path).stem
    match = _EYE.match(stem) if site in _NAMED_BY_PATIENT else None
    # The class folder stays in the name: IDRID_001 lies in two of them.
    name = re.sub(r"[^\w.-]", "-", inner.rsplit(".", 1)[0])
    return {
        "image": f"images/{path}",
        "patient": f"{site}-{match['patient'] if match else name}",
        "site": site,
        "label": GRADES[label],
        "slide": f"{site}-{name}",
        "eye": {"l": "left", "r": "right"}[match["eye"][0]] if match else "",
        "split": split,
    }
