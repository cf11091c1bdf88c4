"""Which rows may fit, which calibrate, which are the reference, and which are only measured."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

TRAINING = "training"
HELD_OUT = "held_out"
SLIDE_LABEL = "slide_label"
FOLD = "fold"
"""The fold of a cross-validation that a row was tested in, from 1; 0 where it is of none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Roles:
    """Row masks (N booleans each) of a predictions table.

    Attributes
    ----------
    fit : numpy.ndarray
        Training split of training sites: detectors and statistics are fitted here.
    calibrate : numpy.ndarray
        Validation split of training sites: thresholds and sets come from here.
    test : numpy.ndarray
        Test split of any site.
    crossed : numpy.ndarray
        Those test rows of training sites that models of a cross-validation answered which had not
        seen the patient. There is no validation split beside them: thresholds come from them, for
        each fold from the other folds.
    site_role : numpy.ndarray
        N strings, ``training`` or ``held_out``.
    """

    fit: np.ndarray
    calibrate: np.ndarray
    test: np.ndarray
    crossed: np.ndarray
    site_role: np.ndarray

    def test_sites(self, sites: np.ndarray) -> list[tuple[str, str]]:
        """(site, role) of every site with test rows, training sites first, then by name."""
        pairs = set(zip(sites[self.test], self.site_role[self.test], strict=True))
        return sorted(pairs, key=lambda pair: (pair[1] != TRAINING, pair[0]))


def roles_of(table: pd.DataFrame) -> Roles:
    """Roles from the columns ``split``, ``site`` and ``site_role`` of a predictions table.

    A site whose role is not given is a training site where it has rows to train on, else held
    out. A row of a held-out site never fits or calibrates, whatever its split says. Where patients
    are answered (a column ``slide_label``), one row of a patient, that of its first image by name,
    stands for all of its slides: they repeat one answer, and copies would pass for further cases.
    """
    split = table["split"].to_numpy(dtype=str)
    site = table["site"].to_numpy(dtype=str)
    trained = np.isin(site, np.unique(site[np.isin(split, ["train", "val"])]))
    role = np.where(trained, TRAINING, HELD_OUT)
    if "site_role" in table.columns:
        given = table["site_role"].fillna("").to_numpy(dtype=str)
        role = np.where(np.isin(given, [TRAINING, HELD_OUT]), given, role)
    once = _first_answers(table)
    own, test = once & (role == TRAINING), once & (split == "test")
    return Roles(
        fit=own & (split == "train"),
        calibrate=own & (split == "val"),
        test=test,
        crossed=own & test & (folds_of_rows(table) > 0),
        site_role=role,
    )


def folds_of_rows(table: pd.DataFrame) -> np.ndarray:
    """The fold of a cross-validation of each row, N numbers; 0 where there is none."""
    if FOLD not in table.columns:
        return np.zeros(len(table), dtype=np.int64)
    return pd.to_numeric(table[FOLD], errors="coerce").fillna(0).to_numpy(np.int64)


def folds_judged(table: pd.DataFrame) -> int:
    """How many folds of a cross-validation answered test rows of training sites; 0 where none did."""
    return len(np.unique(folds_of_rows(table)[roles_of(table).crossed]))


def crossings(table: pd.DataFrame, roles: Roles) -> list[tuple[np.ndarray, np.ndarray]]:
    """Which rows of a cross-validation are judged by what is fitted on which rows.

    What ships (thresholds, calibrators, prediction sets) is fitted on the answers of all folds; on
    these same rows it would keep its promises by construction. So the rows of a fold are judged by
    what the same rule fits on the rows of the other folds, and all other rows by what ships. (The
    models of the other folds were trained with the patients of this one; a nested cross-validation
    would avoid that, and choose on so few rows that it would judge another rule than the one that
    ships: docs/evaluation/cross_validation.md has both, measured.)

    Returns
    -------
    list of (numpy.ndarray, numpy.ndarray)
        N booleans each: the rows that are judged, every row once, and those that are fitted on;
        empty where there is no cross-validation.
    """
    folds = np.where(roles.crossed, folds_of_rows(table), 0)
    if not folds.any():
        return []
    parts = [(folds == fold, (folds > 0) & (folds != fold)) for fold in np.unique(folds[folds > 0])]
    return [*parts, (folds == 0, folds > 0)]


def _first_answers(table: pd.DataFrame) -> np.ndarray:
    """Whether each row is the one that stands for its patient's answer, N booleans."""
    if SLIDE_LABEL not in table.columns:
        return np.ones(len(table), dtype=bool)
    # By name, not by place: models whose tables are in another order are compared on one row.
    order = np.argsort(table["image"].to_numpy(str), kind="stable")
    ordered = table.iloc[order]
    again = ordered.duplicated(["site", "split", "patient"]) & (ordered["patient"] != "")
    first = np.ones(len(table), dtype=bool)
    first[order] = ~again.to_numpy()
    return first


def patient_folds(patients: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """A fold number for each row, N; a patient is in one fold, patients are spread evenly.

    Fewer patients than folds give as many folds as patients.

    Examples
    --------
    >>> patient_folds(np.array(['a', 'a', 'b', 'c']), folds=2, seed=0).tolist()
    [1, 1, 0, 0]
    """
    names, codes = np.unique(patients, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    fold_of = np.empty(len(names), dtype=np.int64)
    fold_of[order] = np.arange(len(names)) % min(folds, max(len(names), 1))
    return fold_of[codes]
