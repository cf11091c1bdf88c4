"""Out-of-distribution scores of a cross-validation: each row by the model that answered it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from offsite.errors import InputError
from offsite.evaluation.ood.fitting import (
    CROSS_FITTED,
    VALIDATION,
    Fitted,
    fit_detectors,
    usable_embeddings,
    usable_logits,
)
from offsite.evaluation.ood.settings import OodSettings
from offsite.evaluation.predictions.roles import folds_of_rows
from offsite.evaluation.predictions.table import Predictions


@dataclass(frozen=True, kw_only=True, eq=False)
class JoinedScores:
    """One detector over the rows of several models.

    Attributes
    ----------
    name : str
        Registry name.
    scores : numpy.ndarray
        N, over 0 where the row is flagged; -1 is the median of the images that a model is used to.
    folds : numpy.ndarray
        N, the model of each row.
    references : mapping of int to (int, str)
        Of each model the rows behind its threshold, and where they come from.
    reason : str
        ``ok``, or why a model has no such detector; there are no scores then.
    """

    name: str
    scores: np.ndarray
    folds: np.ndarray
    references: Mapping[int, tuple[int, str]]
    reason: str = "ok"

    def reference(self, rows: np.ndarray) -> tuple[int, str]:
        """The fewest rows behind a threshold of some rows, and where the thresholds come from."""
        among = [self.references[fold] for fold in np.unique(self.folds[rows]).tolist()]
        if not among:
            return 0, ""
        plain = all(source == VALIDATION for _, source in among)
        return min(n for n, _ in among), VALIDATION if plain else CROSS_FITTED


def joined_scores(
    rows: Predictions, models: Mapping[int, Predictions], settings: OodSettings
) -> list[JoinedScores]:
    """Score each row of a cross-validation by the detectors of the model that answered it.

    Embeddings and scores of two models cannot be compared. Each model's detectors are fitted on its
    own training rows, with the threshold of its own validation rows (of a refit on all patients:
    cross-fitted), so a row is flagged or not by one model alone. To rank rows of several models,
    scores are told in one unit: ``(score - threshold) / (threshold - median)``, the median being
    that of the model's familiar images. That unit is our construction; flags do not depend on it.

    Parameters
    ----------
    rows : Predictions
        The joined answers, with a column ``fold``.
    models : mapping of int to Predictions
        All rows of each fold's model, by the number of the fold; 0 is the refit.
    settings : OodSettings
        Which detectors, and their hyper-parameters.

    Raises
    ------
    InputError
        Code ``other_images``: a model does not speak of an image that it answered.
    """
    folds = folds_of_rows(rows.table)
    used = np.unique(folds).tolist()
    fitted = {fold: fit_detectors(models[fold], settings) for fold in used}
    places = {fold: _places(rows, folds == fold, models[fold]) for fold in used}
    found = []
    for number, name in enumerate(settings.detectors):
        of_model = {fold: fitted[fold][number] for fold in used}
        reason = next((one.reason for one in of_model.values() if one.detector is None), "ok")
        scores = np.full(len(rows), np.nan)
        references = {}
        for fold, one in of_model.items() if reason == "ok" else ():
            scores[folds == fold] = _in_one_unit(one, models[fold], places[fold])
            assert one.detector is not None
            references[fold] = one.detector.n, one.threshold_from
        found.append(
            JoinedScores(
                name=name, scores=scores, folds=folds, references=references, reason=reason
            )
        )
    return found


def _in_one_unit(fitted: Fitted, model: Predictions, places: np.ndarray) -> np.ndarray:
    detector = fitted.detector
    assert detector is not None
    scores = detector.score(usable_embeddings(model)[places], usable_logits(model, places))
    median = float(detector.quantiles[len(detector.quantiles) // 2])
    # Where half of the familiar images lie at the threshold any unit will do: flags stay right.
    unit = detector.threshold - median or 1.0
    return np.asarray((scores - detector.threshold) / unit)


def _places(rows: Predictions, own: np.ndarray, model: Predictions) -> np.ndarray:
    """Where the rows that a model answered stand among its own rows."""
    place = pd.Series(np.arange(len(model)), model.table["image"].astype(str))
    wanted = rows.table["image"][own].astype(str)
    if place.index.has_duplicates or not set(wanted) <= set(place.index):
        raise InputError(
            "a fold does not speak of an image that it tested",
            remedy="Run `offsite train` of all folds again: each takes in today's images",
            code="other_images",
        )
    return place.loc[wanted].to_numpy()
