"""Fit every detector that a predictions table allows, on the training sites alone."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from offsite.errors import InputError
from offsite.evaluation.ood.detector import Detector, Head, ReferencedDetector, recover_head
from offsite.evaluation.ood.settings import DETECTORS, OodSettings
from offsite.evaluation.predictions.roles import patient_folds, roles_of
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.statistics.feature_stats import constant
from offsite.evaluation.statistics.site import unit_codes

VALIDATION = "validation"
CROSS_FITTED = "cross_fitted"
_TINY = 1e-12


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """One detector of a table: fitted and referenced, or the reason why not.

    Attributes
    ----------
    name : str
        Registry name.
    detector : ReferencedDetector or None
        ``None`` where the table lacks what the detector needs.
    threshold_from : str
        ``validation`` or ``cross_fitted``; empty without a detector.
    reason : str
        ``ok``, ``no_samples``, ``no_embeddings``,
        ``constant_embeddings``, ``no_logits`` or ``no_head``.
    """

    name: str
    detector: ReferencedDetector | None
    threshold_from: str = ""
    reason: str = "ok"


def usable_logits(predictions: Predictions, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
    """The logits, or log probabilities in their stead (equal up to a constant of each row)."""
    if predictions.logits is not None:
        return np.asarray(predictions.logits[rows])
    return np.log(np.maximum(predictions.probabilities[rows], _TINY))


def usable_embeddings(predictions: Predictions) -> np.ndarray:
    """The embeddings, or N x 0 where there are none."""
    if predictions.embeddings is not None:
        return predictions.embeddings
    return np.empty((len(predictions), 0))


def fit_detectors(predictions: Predictions, settings: OodSettings) -> list[Fitted]:
    """Fit the detectors named in the settings and freeze their thresholds.

    The model's last layer is recovered from embeddings and logits where they are linear.

    Parameters
    ----------
    predictions : Predictions
        Training rows of training sites fit; their validation rows set threshold and percentiles.
        Where there are none, scores of patient-grouped folds stand in. Held-out sites and test
        rows take no part.
    settings : OodSettings
        Which detectors, and their hyper-parameters.
    """
    roles = roles_of(predictions.table)
    train, held = predictions.select(roles.fit), predictions.select(roles.calibrate)
    head = None
    if train.embeddings is not None and train.logits is not None:
        head = recover_head(train.embeddings, train.logits)
    return [_fit_one(name, train, held, head, settings) for name in settings.detectors]


def _fit_one(
    name: str,
    train: Predictions,
    held: Predictions,
    head: Head | None,
    settings: OodSettings,
) -> Fitted:
    kind = DETECTORS[name]
    reason = _lacking(kind, train, head, settings)
    if reason != "ok":
        return Fitted(name=name, detector=None, reason=reason)

    def fit(rows: Predictions) -> Detector:
        return kind.fit(usable_embeddings(rows), usable_logits(rows), rows.labels, head, settings)

    try:
        detector = fit(train)
        if len(held) >= settings.minimum_rows:
            scores, source = _score(detector, held), VALIDATION
        else:
            scores, source = _cross_fitted(fit, train, settings), CROSS_FITTED
    except InputError as error:
        if error.code != "constant_embeddings":
            raise
        return Fitted(name=name, detector=None, reason=error.code)
    referenced = ReferencedDetector.of(detector, scores, settings.kept)
    return Fitted(name=name, detector=referenced, threshold_from=source)


def _lacking(
    kind: type[Detector], train: Predictions, head: Head | None, settings: OodSettings
) -> str:
    labelled = int((train.labels >= 0).sum())
    if min(len(train), labelled) < settings.minimum_rows:
        return "no_samples" if labelled == 0 else "too_few"
    if "embeddings" in kind.needs and train.embeddings is None:
        return "no_embeddings"
    if "embeddings" in kind.needs and constant(train.embeddings):
        return "constant_embeddings"
    if "logits" in kind.needs and train.logits is None:
        return "no_logits"
    if "head" in kind.needs and head is None:
        return "no_head"
    return "ok"


def _score(detector: Detector, rows: Predictions) -> np.ndarray:
    return detector.score(usable_embeddings(rows), usable_logits(rows))


def _cross_fitted(
    fit: Callable[[Predictions], Detector], train: Predictions, settings: OodSettings
) -> np.ndarray:
    folds = patient_folds(unit_codes(train), settings.folds, settings.seed)
    scores = np.full(len(train), np.nan)
    for fold in np.unique(folds):
        in_fold = folds == fold
        rest = train.select(~in_fold)
        if (rest.labels >= 0).any():
            scores[in_fold] = _score(fit(rest), train.select(in_fold))
    # A single patient leaves nothing to fit on: then the seen rows are all there is.
    if np.isnan(scores).all():
        return _score(fit(train), train)
    return scores[~np.isnan(scores)]
