"""Plain class folders: ``site/class/image`` or, of one site, ``class/image``."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from offsite.errors import InputError, InputErrors
from offsite.preprocessing.cohort.spellings import alike_labels, alike_sites
from offsite.preprocessing.cohort.table import Cohort
from offsite.preprocessing.readers.building import cohort_of, images_in


def read_class_folders(
    folder: str | Path,
    classes: Sequence[str] | None = None,
    *,
    site: str | None = None,
    patient_pattern: str | None = None,
) -> Cohort:
    r"""Read images whose label, and perhaps site, is the name of their folder.

    Parameters
    ----------
    folder : path
        Holds a folder for each site with one for each class, or the latter alone if ``site`` is
        given.
    classes : sequence of str, optional
        Names of the class folders in their order; by default all that there are, sorted.
    site : str, optional
        Name of the one site.
    patient_pattern : str, optional
        Regular expression with one group that finds the patient in a file's stem, such as
        ``^(\d+)_``. Without it each image is taken for a patient of its own, which lets two images
        of one person fall into two splits: give it where you can. It must find a patient in every
        stem: a file that it misses would part from the patient's others.

    Raises
    ------
    InputError
        Code ``no_images``, ``unknown_class``, ``bad_pattern``, ``two_spellings`` or, for each file in which the
        pattern finds no patient, ``no_patient``.
    """
    root = Path(folder)
    pattern = _compiled(patient_pattern)
    rows: list[dict[str, str]] = []
    images: list[Path] = []
    sites = [(site, root)] if site else [(path.name, path) for path in _folders(root)]
    for site_name, site_folder in sites:
        for class_folder in _folders(site_folder):
            label = class_folder.name
            if classes is not None and label not in classes:
                raise InputError(
                    f"'{label}' is not a class",
                    file=class_folder,
                    code="unknown_class",
                    remedy=f"The classes are {', '.join(classes)}",
                )
            files, _ = images_in(class_folder)
            rows += [_row(file, root, site_name, label, pattern) for file in files]
            images += files
    if pattern is not None:
        _check_patients(images, pattern)
    _check_spellings(rows, root, labels=classes is None)
    names = tuple(classes) if classes is not None else tuple(sorted({r["label"] for r in rows}))
    return cohort_of(rows, names, root, "class folders")


def left_out(folder: str | Path, *, site: str | None = None) -> Counter[str]:
    """Count what lies in class folders and `read_class_folders` does not read.

    Returns
    -------
    Counter
        By the end of the name (``.heic``), ``folders`` and ``hidden files``.
    """
    root = Path(folder)
    counts: Counter[str] = Counter()
    for site_folder in [root] if site else _folders(root):
        for class_folder in _folders(site_folder):
            images, further = images_in(class_folder)
            read = further.union(images)
            for entry in class_folder.iterdir():
                if entry.name.startswith("."):
                    counts["hidden files"] += 1
                elif entry.is_dir():  # of a MIRAX slide, the data lie in a folder of its name
                    counts["folders"] += not entry.with_name(f"{entry.name}.mrxs").is_file()
                elif entry not in read:
                    counts[entry.suffix.lower() or "no ending"] += 1
    return +counts


def _folders(path: Path) -> list[Path]:
    if not path.is_dir():
        raise InputError("no such folder", file=path, remedy="Check the path", code="no_images")
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(
            f"'{pattern}' is not a regular expression ({error})",
            code="bad_pattern",
            remedy="Give one such as ^(\\d+)_",
        ) from error
    if compiled.groups != 1:
        raise InputError(
            f"'{pattern}' has {compiled.groups} groups",
            code="bad_pattern",
            remedy="Give exactly one group: what lies in it is the patient",
        )
    return compiled


def _patient_in(file: Path, pattern: re.Pattern[str]) -> str:
    """What the pattern's group holds; "" where it finds nothing."""
    match = pattern.search(file.stem)
    return (match.group(1) or "").strip() if match else ""


def _check_patients(files: list[Path], pattern: re.Pattern[str]) -> None:
    missed = [file for file in files if not _patient_in(file, pattern)]
    if missed:
        raise InputErrors(
            [
                InputError(
                    f"'{pattern.pattern}' finds no patient in this name",
                    file=file,
                    remedy="Rename the file, or give a pattern that fits all",
                    code="no_patient",
                )
                for file in missed
            ]
        )


def _check_spellings(rows: list[dict[str, str]], root: Path, *, labels: bool) -> None:
    """Refuse a site, and without named classes a class, whose folders are spelt in two ways."""
    table = pd.DataFrame(rows, columns=["site", "label", "image"])
    others = [("site", row, most) for row, most in alike_sites(table)]
    others += [("label", row, most) for row, most in alike_labels(table)] if labels else []
    if others:
        raise InputErrors(
            [
                InputError(
                    f"folder '{table[column][row]}' is another spelling of '{most}'",
                    file=root / table["image"][row],
                    remedy="Rename one, or name the classes if they are two",
                    code="two_spellings",
                )
                for column, row, most in others
            ]
        )


def _row(
    file: Path, root: Path, site: str, label: str, pattern: re.Pattern[str] | None
) -> dict[str, str]:
    return {
        "image": file.relative_to(root).as_posix(),
        "patient": f"{site}-{_patient_in(file, pattern) if pattern else f'{label}-{file.stem}'}",
        "site": site,
        "label": label,
        "slide": f"{site}-{label}-{file.stem}",
    }
