"""Bags of features given as arrays: checked, and laid down as the files that training reads."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from offsite.errors import InputError
from offsite.pathology.features.file import (
    FeatureOrigin,
    SlideFeatures,
    feature_path,
    write_features,
)
from offsite.preprocessing.cohort.table import Cohort

ONE_SITE = "all"
# Made elsewhere: that all come from one encoder cannot be checked but by their width.
_ORIGIN = FeatureOrigin(tile_px=0, mpp=0, tile_size_level0=0, encoder="arrays", encoder_digest="")


def checked_bags(bags: Sequence[Any], width: int | None = None) -> list[np.ndarray]:
    """Return bags as float16 arrays, n x D each, as feature files hold them.

    Parameters
    ----------
    bags : sequence of arrays or tensors
        n x D, n >= 1; numbered from 0 in errors.
    width : int, optional
        D that they must have; by default that of the first.

    Raises
    ------
    InputError
        Code ``bad_bag``, with the number of the bag.

    Examples
    --------
    >>> [bag.dtype.name for bag in checked_bags([[[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]]])]
    ['float16', 'float16']
    >>> checked_bags([[[1.0, 2.0]], [[3.0]]])
    Traceback (most recent call last):
    offsite.errors.InputError: bag 1 is 1 wide, bag 0 is 2. Give n x D arrays of one D
    """
    if not len(bags):
        raise InputError(
            "there are no bags", remedy="Give at least one n x D array", code="bad_bag"
        )
    checked: list[np.ndarray] = []
    for number, bag in enumerate(bags):
        try:
            values = np.asarray(bag.detach().cpu() if hasattr(bag, "detach") else bag, np.float32)
        except (TypeError, ValueError) as error:
            raise _bad(number, f"is no array of numbers ({error})") from error
        if values.ndim != 2 or not values.size:
            raise _bad(number, f"has shape {values.shape}")
        if not np.isfinite(values).all():
            raise _bad(number, "holds NaN or infinity", "Leave such instances out")
        if np.abs(values).max() > np.finfo(np.float16).max:
            raise _bad(
                number, "holds a number over 65504",
                "Scale the features: they are kept in half precision",
            )  # fmt: skip
        if width is not None and values.shape[1] != width:
            against = "bag 0 is" if checked else "the model takes"
            raise _bad(number, f"is {values.shape[1]} wide, {against} {width}")
        width = values.shape[1]
        checked.append(values.astype(np.float16))
    return checked


def cohort_of(
    count: int,
    labels: Sequence[Any],
    sites: Sequence[Any] | None,
    patients: Sequence[Any] | None,
    folder: Path,
    order: Sequence[Any] | None = None,
) -> Cohort:
    """Return the cohort of bags, named ``bag-<number>``; classes are in ``order``, or sorted.

    Raises
    ------
    InputError
        A list has another length than there are bags, a bag lacks a label, site or patient,
        a class has one bag, or ``order`` does not name each class once.
    """
    names = [f"bag-{number}" for number in range(count)]
    classes, table = _classes(labels, count, order), pd.DataFrame({"image": names, "slide": names})
    table["label"] = list(map(str, _checked(labels, count, "label")))
    table["site"] = [ONE_SITE] * count if sites is None else _checked(sites, count, "site")
    table["patient"] = names if patients is None else _checked(patients, count, "patient")
    _check_patients(table)
    return Cohort(table=table, classes=classes, path=folder / "cohort.csv")


def write_bags(folder: Path, bags: Sequence[np.ndarray]) -> Path:
    """Write a feature file for each of the checked bags; return their folder."""
    for number, bag in enumerate(bags):
        coords = np.zeros((len(bag), 2), np.int64)
        slide = SlideFeatures(features=bag, coords=coords, origin=_ORIGIN)
        write_features(feature_path(folder, f"bag-{number}"), slide)
    return folder


def _classes(labels: Sequence[Any], count: int, order: Sequence[Any] | None) -> tuple[str, ...]:
    values = _checked(labels, count, "label")
    counts = Counter(values)
    if len(counts) < 2:
        raise InputError("the labels name one class", remedy="Give bags of two or more classes")
    for label, bags in counts.items():
        if bags == 1:
            raise InputError(
                f"bag {values.index(label)} is the only one of class '{label}'",
                remedy="Give at least two bags of each class, better ten, or leave it out",
                code="class_of_one_bag",
            )
    if order is not None:
        return _in_order(tuple(map(str, counts)), tuple(map(str, order)))
    try:
        return tuple(map(str, sorted(counts)))
    except TypeError as error:
        raise InputError(
            "the labels are of several types", remedy="Give names or numbers of classes, not both"
        ) from error


def _in_order(classes: tuple[str, ...], order: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(order)) != len(order) or set(order) != set(classes):
        raise InputError(
            f"classes names {', '.join(order) or 'no class'}, and the labels are of"
            f" {', '.join(sorted(classes))}",
            remedy="Name each class of the labels once, the mildest first",
            code="unknown_class",
        )
    return order


def _checked(values: Sequence[Any], count: int, what: str) -> list[Any]:
    if hasattr(values, "tolist"):  # of arrays, tensors and series: plain values
        values = values.tolist()
    if len(values) != count:
        raise InputError(
            f"there are {count} bags and {len(values)} {what}s",
            remedy=f"Give a {what} for each bag, in the same order",
        )
    for number, value in enumerate(values):
        if value is None or value != value or str(value).strip() == "":
            raise InputError(f"bag {number} has no {what}", remedy="Name it, or leave the bag out")
    return [value if what == "label" else str(value) for value in values]


def _check_patients(table: pd.DataFrame) -> None:
    sites = table.groupby("patient")["site"].nunique()
    several = table["patient"].isin(sites.index[sites > 1])
    if several.any():
        number = int(np.flatnonzero(several)[0])
        raise InputError(
            f"the patient of bag {number} is of two sites",
            remedy="Name patients so that those of different sites differ",
        )


def _bad(number: int, what: str, remedy: str = "Give n x D arrays of one D") -> InputError:
    return InputError(f"bag {number} {what}", remedy=remedy, code="bad_bag")
