"""Thresholds of a cross-validation: each fold is called by what the other folds chose."""

from collections.abc import Sequence

import numpy as np

from offsite.evaluation.operating_points.choosing import Threshold, choose_thresholds
from offsite.evaluation.predictions.roles import folds_of_rows
from offsite.evaluation.statistics.sites import Sites


def shifts_of(sites: Sites, shipped: Sequence[Threshold]) -> dict[tuple[str, str], np.ndarray]:
    """How much higher each row's own threshold lies than the one that ships.

    The threshold that ships is chosen on all rows that the folds tested; measured on these rows it
    would keep its promise by construction. So a row of a fold is called by the threshold that the
    same rule finds on the other folds: its score less the shift is compared with the threshold that
    ships. Rows of held-out sites were not chosen on, and have no shift.

    Parameters
    ----------
    shipped : sequence of Threshold
        As `choose_thresholds` gives them.

    Returns
    -------
    dict
        Of each task and rule N differences of probabilities; empty where the rows are of no
        cross-validation.
    """
    folds = np.where(sites.roles.crossed, folds_of_rows(sites.predictions.table), 0)
    if not folds.any():
        return {}
    shifts = {(str(one.task), str(one.rule)): np.zeros(len(folds)) for one in shipped}
    for fold in np.unique(folds[folds > 0]):
        others = sites.training_rows((folds > 0) & (folds != fold))
        own = choose_thresholds(sites, rows=others)
        for there, here in zip(shipped, own, strict=True):
            if there.value is not None and here.value is not None:
                shifts[there.task, there.rule][folds == fold] = here.value - there.value
    return shifts
