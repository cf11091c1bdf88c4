"""Folds of patients for cross-validation: each patient is tested once, classes and sites are even."""

from collections.abc import Sequence

import numpy as np

from offsite.errors import InputError
from offsite.preprocessing.cohort.splits import SplitSettings, by_patient, split_cohort
from offsite.preprocessing.cohort.table import Cohort


def patient_folds_of(cohort: Cohort, folds: int, seed: Sequence[int]) -> dict[str, int]:
    """Return the fold, from 1, of each patient of a cohort.

    The patients lie in order of class (that of their most severe image) and, within it, of site, at
    random within both, and are dealt out like cards. So two folds differ by at most one patient: in
    all, in each class, and in each class at each site. (scikit-learn's `StratifiedGroupKFold` evens out
    images, not patients, by one label alone, and promises no bound: with site x class as that label
    a class of as many patients as folds can miss a fold.)

    Parameters
    ----------
    folds : int
        At least 2.
    seed : sequence of int
        Of the order within a class at a site; the order of the table's rows has no say.

    Examples
    --------
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> rows = [[f"{p}.svs", p, "north", "ill" if p in "ab" else "well"] for p in "abcdef"]
    >>> table = pd.DataFrame(rows, columns=["image", "patient", "site", "label"])
    >>> cohort = Cohort(table=table, classes=("well", "ill"), path=Path("cohort.csv"))
    >>> found = patient_folds_of(cohort, 2, [0])
    >>> sorted(found.values()), found["a"] != found["b"]
    ([1, 1, 1, 2, 2, 2], True)
    """
    patients = by_patient(cohort.table.assign(label_index=cohort.label_indices))
    generator = np.random.default_rng(np.random.SeedSequence([*seed, 0xF01D5]))
    at_random = generator.permutation(len(patients))
    order = np.lexsort((at_random, patients["site"].to_numpy(str), -patients["label"].to_numpy()))
    # Which fold is dealt to first is drawn too: else the first would hold the odd patient always.
    first = int(generator.integers(folds))
    places = (first + np.arange(len(order))) % folds + 1
    names = patients.index.to_numpy(str)[order]
    return dict(zip(names.tolist(), places.tolist(), strict=True))


def split_fold(
    cohort: Cohort, settings: SplitSettings, *, folds: int, number: int, seed: Sequence[int]
) -> Cohort:
    """Add ``split`` and ``site_role`` to a cohort for one fold of a cross-validation.

    The fold's patients are ``test``. Of the other patients of training sites the share
    ``settings.val`` is ``val`` and the rest ``train``, divided as `split_cohort` does it. Held-out
    sites are ``test`` in every fold.

    Parameters
    ----------
    settings : SplitSettings
        ``test`` is not used: the folds say who is tested.
    folds, number : int
        How many folds, and which, from 1.
    seed : sequence of int
        Of the folds.

    Raises
    ------
    InputError
        As `split_cohort`, or code ``split_and_folds`` (the table divides patients of training sites
        itself), ``class_without_fold`` (a fold would hold no patient of a class).
    """
    at_training = cohort.with_table(
        cohort.table[~cohort.table["site"].isin(settings.held_out_sites)]
    )
    _check_no_split(cohort, settings)
    of_patient = patient_folds_of(at_training, folds, seed)
    _check_folds(at_training, of_patient, folds)
    tested = cohort.table["patient"].map(of_patient).eq(number)
    given = cohort.table.assign(split=np.where(tested, "test", ""))
    return split_cohort(cohort.with_table(given), settings.model_copy(update={"test": 0.0}))


def whole_cohort(cohort: Cohort, settings: SplitSettings) -> Cohort:
    """Add ``split`` and ``site_role``: every patient of the training sites is ``train``."""
    _check_no_split(cohort, settings)
    given = cohort.table.assign(split="train")
    given.loc[given["site"].isin(settings.held_out_sites), "split"] = ""
    return split_cohort(cohort.with_table(given), settings)


def _check_no_split(cohort: Cohort, settings: SplitSettings) -> None:
    if "split" not in cohort.table.columns:
        return
    at_training = ~cohort.table["site"].isin(settings.held_out_sites)
    rows = np.flatnonzero((cohort.table["split"].ne("") & at_training).to_numpy())
    if len(rows):
        raise InputError(
            f"the table puts an image into '{cohort.table['split'].iloc[rows[0]]}', and folds test"
            " every patient once",
            file=cohort.path,
            row=int(rows[0]) + 2,
            column="split",
            code="split_and_folds",
            remedy="Take the column out of the table, or set cells.protocol to as_given",
        )


def _check_folds(cohort: Cohort, of_patient: dict[str, int], folds: int) -> None:
    """Refuse folds of which one tests no patient of a class: nothing would be measured of it there."""
    table = cohort.table.assign(fold=cohort.table["patient"].map(of_patient))
    for name in cohort.classes:
        rows = table[table["label"] == name]
        lacking = sorted(set(range(1, folds + 1)) - set(rows["fold"]))
        if not lacking:
            continue
        found = rows["patient"].nunique()
        few = f"{found} patient{'' if found == 1 else 's'} of class {name} at the training sites"
        those = f"fold {lacking[0]}" if len(lacking) == 1 else f"folds {_listed(lacking)}"
        fewer = f"Set cells.folds to {found} or fewer" if 2 <= found < folds else ""
        if found >= folds:
            fewer = "Set cells.folds lower: these patients also have images of a more severe class"
        raise InputError(
            f"{few}: {those} of {folds} would test none",
            file=cohort.path,
            column="label",
            code="class_without_fold",
            remedy=f"{fewer}{', or name' if fewer else 'Name'} fewer classes in the settings",
        )


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
