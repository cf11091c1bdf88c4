"""By how much models that share training patients vary more than the patients they answer for say."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from offsite.evaluation.predictions.roles import HELD_OUT, folds_of_rows
from offsite.evaluation.predictions.table import Predictions


def corrected_variance(folds: int, repeats: int) -> float:
    """What the variance over patients is multiplied by for methods compared in a cross-validation.

    Nadeau and Bengio (2003) estimate the variance of a mean over J trainings, which share training
    rows, as (1 / J + n_test / n_train) S^2, S^2 being that of single trainings; for repeated folds J is
    folds x repeats and the ratio 1 / (folds - 1) (Bouckaert and Frank 2004). The patients of all folds
    together vary by S^2 / folds, so the factor on that is 1 / repeats + folds / (folds - 1). That it is
    put on the variance over patients, which is defined where a fold's own metric is not, is our
    construction; docs/evaluation/cross_validation.md has what it covers.

    Examples
    --------
    >>> corrected_variance(5, 1), round(corrected_variance(5, 10), 2)
    (2.25, 1.35)
    """
    return 1 / repeats + folds / (folds - 1)


def shared_by_folds(models: Sequence[Predictions]) -> float:
    """The factor of :func:`corrected_variance` for single divisions into folds, as the rows say.

    Where no row is of a fold (column ``fold``) it is 1; of several divisions it is the largest, which
    is that of the fewest folds.
    """
    numbers = [folds_of_rows(model.table) for model in models]
    counts = [len(np.unique(folds[folds > 0])) for folds in numbers]
    return max((corrected_variance(count, 1) for count in counts if count > 1), default=1.0)


def shared_at(place: Mapping[str, Any], shared: float) -> float:
    """The factor at a place: sites that were held out are answered by one model, not by folds."""
    return 1.0 if place["site_role"] == HELD_OUT else shared
