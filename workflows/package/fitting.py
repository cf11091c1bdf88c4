"""What stands between a network and its reader, fitted on validation rows of training sites."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from offsite.evaluation.conformal.sets import ConformalSets
from offsite.evaluation.new_site.settings import local_temperature
from offsite.evaluation.ood.fitting import fit_detectors
from offsite.evaluation.ood.settings import OodSettings
from offsite.evaluation.operating_points.choosing import PACKAGED, choose_threshold, confidence_of
from offsite.evaluation.predictions.roles import roles_of
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.settings import ConformalSettings, EvaluationSettings
from offsite.evaluation.statistics.binomial import clustered_interval
from offsite.workflows.package.schema import POOLED, Interval, OperatingPoint, SiteProfile
from offsite.workflows.package.temperature import log_of, tempered

# The feature scores that did best on medical images (OpenMIBOOD, CVPR 2025), in that order.
DETECTORS = ("residual", "mahalanobis", "msp")
# 19 rows are the fewest that can rule a class out at 95 %: 1 / 0.05 - 1.
LEAST_BIN = 19
LEAST_POSITIVES = 10
OWN_THRESHOLD_POSITIVES = 50


@dataclass
class Fitted:
    """Everything fitted, and what could not be.

    Attributes
    ----------
    reference : dict of str to numpy.ndarray
        For ``reference.npz``.
    profiles : dict of str to SiteProfile
        By site, and ``_pooled``.
    limits : list of str
        What is missing, and why.
    """

    reference: dict[str, np.ndarray] = field(default_factory=dict)
    profiles: dict[str, SiteProfile] = field(default_factory=dict)
    limits: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Groups:
    """Which classes call for referral, which urgently, and how many must be found."""

    positive: tuple[str, ...]
    urgent: tuple[str, ...]
    sensitivity: float
    ordinal: bool


def fit_reference(
    predictions: Predictions, groups: Groups, folds: Predictions | None = None
) -> Fitted:
    """Fit OOD detector, calibration, prediction sets and thresholds.

    Rows of held-out sites and test rows take no part. What a table cannot give (no labels, no
    embeddings, a class without rows) is left out and said in ``limits``.

    Parameters
    ----------
    folds : Predictions, optional
        Of a refit on all patients, which has no validation rows: what the folds of its
        cross-validation said of the patients that they tested. They take the place of validation
        and test rows, and the refit's own rows tell what its training images are like.
    """
    fitted = Fitted()
    judged = predictions if folds is None else folds
    roles = roles_of(judged.table)
    rows = judged.select((roles.calibrate | roles.crossed) & (judged.labels >= 0))
    _fit_ood(predictions, fitted)
    rows = _calibrated(rows, fitted)
    fitted.reference |= under("scores", _scores_by_site(rows))
    _fit_sets(rows, groups, fitted)
    _fit_profiles(rows, _checked_sites(judged, groups, fitted), groups, fitted)
    return fitted


def _scores_by_site(rows: Predictions) -> dict[str, np.ndarray]:
    """The validation rows' probabilities by site: what a later look at a site is compared with.

    Returns
    -------
    dict of str to numpy.ndarray
        n x C, float32, each column sorted by itself, so that no row stands for a patient.
    """
    sites = rows.table["site"].to_numpy(str)
    return {
        str(site): np.sort(rows.probabilities[sites == site], axis=0).astype(np.float32)
        for site in np.unique(sites)
    }


def under(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays with ``prefix/`` before their names."""
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def _fit_ood(predictions: Predictions, fitted: Fitted) -> None:
    detectors = fit_detectors(predictions, OodSettings(detectors=DETECTORS))
    usable = [one for one in detectors if one.detector is not None]
    if not usable:
        fitted.limits.append(
            "How unlike the training images a case is cannot be said: "
            + ", ".join(f"{one.name} {one.reason.replace('_', ' ')}" for one in detectors)
            + "."
        )
        return
    best = usable[0]
    assert best.detector is not None
    fitted.reference |= under("ood", best.detector.to_arrays())
    if best.threshold_from != "validation":
        fitted.limits.append(
            "The percentiles of distance from the training images are cross-fitted on training"
            " rows: there were too few validation rows."
        )


def _calibrated(rows: Predictions, fitted: Fitted) -> Predictions:
    """Fit the temperature and return the rows as a reader will see them."""
    logits = rows.logits if rows.logits is not None else log_of(rows.probabilities)
    patients = rows.table["patient"].to_numpy(str)
    temperature = local_temperature(logits, rows.labels, patients)
    if temperature.value is None or len(rows) < LEAST_BIN:
        reason = "too few" if temperature.value is not None else temperature.reason.value
        fitted.limits.append(
            "The probabilities are not calibrated: a temperature cannot be fitted to the"
            f" validation cases ({reason.replace('_', ' ')})."
        )
        return rows
    fitted.reference[f"calibration/{POOLED}/temperature"] = np.array(temperature.value)
    return replace(rows, probabilities=tempered(logits, temperature.value))


def _fit_sets(rows: Predictions, groups: Groups, fitted: Fitted) -> None:
    counts = np.bincount(rows.labels, minlength=len(rows.classes))
    if len(rows) < LEAST_BIN:
        fitted.limits.append(
            f"There are no prediction sets: {len(rows)} labelled validation cases, fewer than"
            f" {LEAST_BIN}."
        )
        return
    by_class = bool((counts >= LEAST_BIN).all())
    if not by_class:
        few = ", ".join(
            f"{name} ({n})" for name, n in zip(rows.classes, counts, strict=True) if n < LEAST_BIN
        )
        fitted.limits.append(
            "The coverage of the prediction sets holds over all classes together and not for each:"
            f" too few validation cases of {few}."
        )
    settings = ConformalSettings(ordered=groups.ordinal, by_class=by_class)
    sites = rows.table["site"].to_numpy(str)
    sets = ConformalSets.fit(rows.probabilities, rows.labels, sites, settings)
    fitted.reference |= under(f"conformal/{POOLED}", sets.to_arrays())


def _checked_sites(predictions: Predictions, groups: Groups, fitted: Fitted) -> set[str]:
    """Training sites where the threshold met enough positive patients who were not trained on.

    It is chosen on validation rows and measured on test rows; a site with fewer positive patients
    than `LEAST_POSITIVES` in both has no profile, and 'no referral' is not given there.
    """
    measured = predictions.table["split"].isin(["val", "test"]).to_numpy()
    training = (predictions.table["site_role"] == "training").to_numpy()
    members = np.isin(np.array(predictions.classes), groups.positive)
    labelled = predictions.labels >= 0
    positive = labelled & members[np.maximum(predictions.labels, 0)]
    sites, patients = (predictions.table[name].to_numpy(str) for name in ("site", "patient"))
    checked = set()
    for site in np.unique(sites[training]):
        met = len(np.unique(patients[positive & measured & (sites == site)]))
        if met >= LEAST_POSITIVES:
            checked.add(str(site))
        else:
            fitted.limits.append(
                f"At {site} the threshold met {met} patients with a positive case that was not"
                f" trained on, fewer than {LEAST_POSITIVES}: the site counts as not checked."
            )
    return checked


def _fit_profiles(rows: Predictions, checked: set[str], groups: Groups, fitted: Fitted) -> None:
    sites = rows.table["site"].to_numpy(str)
    everywhere = np.ones(len(rows), dtype=bool)
    pooled = _profile(rows, everywhere, groups, None)
    fitted.profiles[POOLED] = pooled
    for site in sorted(checked & set(sites)):
        fitted.profiles[site] = _profile(rows, sites == site, groups, pooled)


def _profile(
    rows: Predictions, at_site: np.ndarray, groups: Groups, pooled: SiteProfile | None
) -> SiteProfile:
    notes: list[str] = []

    def point(name: str, classes: Sequence[str], other: OperatingPoint | None) -> Any:
        if not classes:
            return None
        return _point(rows, at_site, classes, groups.sensitivity, other, name, notes)

    referral = point("referral", groups.positive, pooled.referral if pooled else None)
    urgent = point("urgent", groups.urgent, pooled.urgent if pooled else None)
    return SiteProfile(
        role="training" if pooled else "pooled",
        n=int(at_site.sum()),
        patients=int(rows.table["patient"][at_site].nunique()),
        referral=referral,
        urgent=urgent,
        notes=tuple(notes),
    )


def _point(
    rows: Predictions,
    at_site: np.ndarray,
    classes: Sequence[str],
    target: float,
    pooled: OperatingPoint | None,
    name: str,
    notes: list[str],
) -> OperatingPoint | None:
    members = np.isin(np.array(rows.classes), classes)
    scores = np.minimum(rows.probabilities[at_site][:, members].sum(axis=1), 1.0)
    positive = members[rows.labels[at_site]]
    patients = np.unique(rows.table["patient"].to_numpy(str)[at_site], return_inverse=True)[1]
    positives = int(positive.sum())
    if pooled is None and positives < LEAST_POSITIVES:
        notes.append(
            f"no {name} threshold: {positives} positive validation cases, fewer than {LEAST_POSITIVES}"
        )
        return None
    if pooled is not None and positives < OWN_THRESHOLD_POSITIVES:
        origin = "all training sites together (validation)"
        return operating_point(scores, positive, patients, pooled.threshold, origin, target)
    where = "this site" if pooled is not None else "all training sites together"
    confidence = confidence_of(PACKAGED, EvaluationSettings().confidence)
    threshold = choose_threshold(scores, positive, patients, target, confidence)
    assert threshold is not None  # every sensitivity is reached where there is a positive case
    origin = f"sensitivity {target:g} on the validation cases of {where}"
    return operating_point(scores, positive, patients, threshold, origin, target)


def operating_point(
    scores: np.ndarray,
    positive: np.ndarray,
    patients: np.ndarray,
    threshold: float,
    origin: str,
    target: float | None = None,
) -> OperatingPoint:
    """Measure a threshold on cases: sensitivity and specificity with intervals over patients."""
    called = scores >= threshold
    return OperatingPoint(
        threshold=threshold,
        origin=origin,
        target_sensitivity=target,
        n=len(scores),
        sensitivity=_share(called[positive], patients[positive]),
        specificity=_share(~called[~positive], patients[~positive]),
    )


def _share(hits: np.ndarray, patients: np.ndarray) -> Interval | None:
    if not len(hits):
        return None
    low, high = clustered_interval(hits, patients)
    return Interval(value=float(hits.mean()), low=low, high=high)
