"""How far what a picture shows of its camera gets in the label: a shortcut that a model may take.

A plain classifier reads some numbers that say nothing of disease (colour, sharpness, size, storage).
Within a site it is judged by patients that were left out; across sites it is fitted to all others. What
ranks within sites and not across them is a property of each site, which a model can learn and a new
hospital does not share; what ranks across sites may be disease that colours a picture, or a habit of all.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from offsite.evaluation.statistics.delong import auroc_interval, placements

WITHIN, ACROSS, TELLS_SITES = "within", "across", "tells_sites"
COLUMNS = ("site", "kind", "auroc", "low", "high", "n", "n_positive", "n_patients", "reason")
LEAST_PATIENTS = 10
"""On either side; of fewer nothing is said."""
_FOLDS = 5


def shortcut_table(
    numbers: np.ndarray,
    positive: np.ndarray,
    sites: Sequence[str] | np.ndarray,
    patients: Sequence[str] | np.ndarray,
) -> pd.DataFrame:
    """Return how well the numbers rank the positive images of each site, and tell the sites.

    Parameters
    ----------
    numbers : numpy.ndarray
        N x F, finite.
    positive : numpy.ndarray
        N booleans: what is to be ranked.
    sites, patients : sequence of str
        N each; a patient of two sites counts as two.

    Returns
    -------
    pandas.DataFrame
        `COLUMNS`. The 95 % intervals are over patients (DeLong 1988, Obuchowski 1997) and for the
        fitted classifiers as they are. Kind ``within``: by patients of the site that were left out; ``across``: by a
        classifier of all other sites; ``tells_sites``: how well the images of the site are told from
        the others', by patients that were left out. ``reason`` is ``ok``, or why there is no value.
        Where numbers tell nothing, values of patients left out lie a little below .5: each fold's
        classifier leans away from what it does not see.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> positive, patients = rng.random(200) < 0.5, np.arange(200).astype(str)
    >>> numbers = np.stack([positive + rng.normal(size=200), rng.normal(size=200)], axis=1)
    >>> table = shortcut_table(numbers, positive, np.repeat(["a", "b"], 100), patients)
    >>> [kind for kind in table["kind"]]
    ['within', 'across', 'tells_sites', 'within', 'across', 'tells_sites']
    >>> bool(table["auroc"][1] > 0.65), bool(table["low"][2] < 0.5)
    (True, True)
    """
    names = np.asarray(sites, dtype=str)
    units = pd.factorize(pd.Series(names) + "\x1f" + pd.Series(np.asarray(patients, dtype=str)))[0]
    rows = []
    for site in np.unique(names):
        here = names == site
        for kind, truth, judged in (
            (WITHIN, positive, here),
            (ACROSS, positive, here),
            (TELLS_SITES, here, np.ones(len(here), bool)),
        ):
            fitted_to = ~here if kind == ACROSS else judged
            facts = _counts(truth, units, judged)
            reason = why_not(truth, units, judged) or why_not(truth, units, fitted_to)
            row = {"site": site, "kind": kind, **facts, "reason": reason or "ok"}
            if not reason:
                if kind == ACROSS:
                    model = _classifier().fit(numbers[~here], truth[~here])
                    scores = model.decision_function(numbers[here])
                else:
                    scores = left_out_scores(numbers[judged], truth[judged], units[judged])
                area = placements(scores, truth[judged], units[judged])
                low, high = auroc_interval(area)
                row |= {"auroc": float(area.auroc), "low": low, "high": high}
            rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _classifier() -> LogisticRegression:
    return make_pipeline(
        StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000)
    )


def left_out_scores(numbers: np.ndarray, truth: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Return the score of each row (N) by a classifier that saw no row of its patient.

    The folds' scores are on one scale, the log-odds at equal classes, and are not ranked apart.

    Parameters
    ----------
    numbers : numpy.ndarray
        N x F, finite.
    truth : numpy.ndarray
        N booleans.
    units : numpy.ndarray
        N: whose row each is.
    """
    folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=0)
    asked = {"groups": units, "cv": folds, "method": "decision_function"}
    return np.asarray(cross_val_predict(_classifier(), numbers, truth, **asked))


def _counts(truth: np.ndarray, units: np.ndarray, judged: np.ndarray) -> dict[str, int]:
    return {
        "n": int(judged.sum()),
        "n_positive": int(truth[judged].sum()),
        "n_patients": len(np.unique(units[judged])),
    }


def why_not(truth: np.ndarray, units: np.ndarray, rows: np.ndarray) -> str:
    """Return why rows (N booleans) have too few patients on a side of the truth (N), or nothing."""
    for side in (truth, ~truth):
        patients = len(np.unique(units[rows & side]))
        if patients < LEAST_PATIENTS:
            return "single_class" if patients == 0 else "too_few_patients"
    return ""
