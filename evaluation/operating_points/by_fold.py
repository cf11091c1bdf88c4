"""Thresholds of a cross-validation: each fold is called by what the other folds chose."""

from collections.abc import Sequence

import numpy as np

from offsite.evaluation.operating_points.choosing import PACKAGED, Threshold, choose_thresholds
from offsite.evaluation.predictions.roles import crossings
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
        Of each task and rule N differences of probabilities, not a number where the other folds
        have too few rows to choose on; empty where the rows are of no cross-validation.
    """
    parts = crossings(sites.predictions.table, sites.roles)
    if not parts:
        return {}
    rows = len(sites.predictions)
    shifts = {(str(one.task), str(one.rule)): np.zeros(rows) for one in shipped}
    for judged, chosen_on in parts[:-1]:
        own = {
            (str(one.task), str(one.rule)): one.value
            for one in choose_thresholds(sites, rows=sites.training_rows(chosen_on))
        }
        for one in shipped:
            here = own[one.task, one.rule]
            if one.value is not None:
                # Called by what ships, a row would be judged by a threshold that it helped to choose.
                shifts[one.task, one.rule][judged] = np.nan if here is None else here - one.value
    return shifts


def cuts_of(sites: Sites) -> dict[str, np.ndarray]:
    """The threshold that each row is called by, N probabilities of each task by its name.

    It is the one that a package ships, or the stated one where none can be chosen; of a
    cross-validation as `shifts_of` says. Where the other folds have too few rows to choose on, it
    is the stated one too.
    """
    chosen = choose_thresholds(sites, ("stated", PACKAGED))
    shifts = shifts_of(sites, chosen)
    cuts: dict[str, np.ndarray] = {}
    for one in chosen:  # the stated one of a task comes first
        if one.value is None:
            continue
        shift = shifts.get((one.task, one.rule), np.zeros(len(sites.predictions)))
        stated = cuts.get(one.task, shift)
        cuts[one.task] = np.where(np.isnan(shift), stated, one.value + shift)
    return cuts
