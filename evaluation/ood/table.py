"""The table of out-of-distribution scores: what each detector notices at each site."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from offsite.errors import InputError
from offsite.evaluation.ood.detector import Head
from offsite.evaluation.ood.fitting import Fitted, fit_detectors, usable_embeddings, usable_logits
from offsite.evaluation.ood.metrics import Separation, separation
from offsite.evaluation.ood.settings import OodSettings
from offsite.evaluation.predictions.roles import HELD_OUT, TRAINING
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.statistics.patient_weights import patient_weights
from offsite.evaluation.statistics.sites import POOLED, Sites
from offsite.evaluation.tables.frames import nullable_frame

COLUMNS = {
    "detector": "str",
    "category": "str",
    "site": "str",
    "site_role": "str",
    "metric": "str",
    "value": "Float64",
    "low": "Float64",
    "high": "Float64",
    "n": "Int64",
    "n_positive": "Int64",
    "n_patients": "Int64",
    "n_reference": "Int64",
    "threshold": "Float64",
    "threshold_from": "str",
    "reason": "str",
}
SEPARATIONS = ("auroc", "fpr_ood_at_95_id_kept", "fpr_id_at_95_ood_caught")
_ROLE_OF = {"in_distribution": TRAINING, "covariate_shifted": HELD_OUT}


@dataclass(frozen=True, kw_only=True, eq=False)
class _Group:
    """Rows of one site (or set) in one category, with their bootstrap weights."""

    category: str
    site: str
    rows: Predictions
    units: np.ndarray
    patients: np.ndarray
    weights: np.ndarray
    sites: Sites

    @property
    def n_units(self) -> int:
        return len(np.unique(self.units))


def ood_table(
    sites: Sites,
    settings: OodSettings,
    far: Predictions | None = None,
    near: Predictions | None = None,
    head: Head | None = None,
) -> pd.DataFrame:
    """A row per detector, category, site and metric; ``docs/evaluation/ood_and_shift.md`` has them.

    Parameters
    ----------
    sites : Sites
        Rows of all splits; detectors are fitted on training rows of training sites only.
    settings : OodSettings
        Detectors, threshold, resamples and seed.
    far, near : Predictions, optional
        The same model's predictions on images it was never meant for (far), or of another kind
        from the same modality (near); every row counts, a set per value of ``site``.
    head : Head, optional
        The model's last layer, for scores that use it.

    Raises
    ------
    InputError
        ``far`` or ``near`` were predicted by a model of another shape.
    """
    for other in (far, near):
        _check_same_model(sites.predictions, other)
    groups = _groups(sites, far, near, settings)
    records: list[dict[str, Any]] = []
    for fitted in fit_detectors(sites.predictions, settings, head):
        records.extend(_rows_of(fitted, groups, settings))
    return nullable_frame(records, COLUMNS)


def _check_same_model(predictions: Predictions, other: Predictions | None) -> None:
    if other is None:
        return
    mine, theirs = usable_embeddings(predictions).shape[1], usable_embeddings(other).shape[1]
    if predictions.classes != other.classes or mine != theirs:
        raise InputError(
            f"{len(other.classes)} classes and {theirs} features, not "
            f"{len(predictions.classes)} and {mine}",
            remedy="Predict near and far images by the same model",
        )


def _groups(
    sites: Sites, far: Predictions | None, near: Predictions | None, settings: OodSettings
) -> list[_Group]:
    sets: list[tuple[str, str, Sites, np.ndarray]] = []
    for category, role in (("in_distribution", TRAINING), ("covariate_shifted", HELD_OUT)):
        of_role = sites.roles.test & (sites.roles.site_role == role)
        sets.append((category, POOLED, sites, of_role))
        sets.extend(
            (category, name, sites, mask)
            for name, known, mask in sites.groups()
            if known == role and name != POOLED
        )
    for category, rows in (("near", near), ("far", far)):
        if rows is not None:
            other = Sites.of(rows, sites.settings)
            sets.append((category, POOLED, other, np.ones(len(rows), dtype=bool)))
            names = sorted(set(other.names))
            sets.extend((category, name, other, other.names == name) for name in names)
    generator = np.random.default_rng(np.random.SeedSequence(settings.seed))
    return [
        _Group(
            category=category,
            site=site,
            rows=among.predictions.select(mask),
            units=among.units[mask],
            patients=among.patients[mask],
            weights=patient_weights(among.units[mask], settings.resamples, generator),
            sites=among,
        )
        for category, site, among, mask in sets
    ]


def _rows_of(
    fitted: Fitted, groups: list[_Group], settings: OodSettings
) -> Iterator[dict[str, Any]]:
    scores = [_scores(fitted, group.rows) for group in groups]
    reference, reference_scores = groups[0], scores[0]  # the pooled in-distribution test
    for group, group_scores in zip(groups, scores, strict=True):
        if group.category in ("covariate_shifted", "near", "far"):
            yield from _separations(
                fitted, group, group_scores, reference, reference_scores, settings.minimum_rows
            )
        yield _flag_rate(fitted, group, group_scores)
    for group, group_scores in zip(groups, scores, strict=True):
        if group.category in ("in_distribution", "covariate_shifted"):
            yield _error_detection(fitted, group, group_scores, settings.minimum_rows)


def _scores(fitted: Fitted, rows: Predictions) -> np.ndarray:
    if fitted.detector is None:
        return np.full(len(rows), np.nan)
    return fitted.detector.score(usable_embeddings(rows), usable_logits(rows))


def _record(fitted: Fitted, group: _Group, metric: str, **values: Any) -> dict[str, Any]:
    detector = fitted.detector
    return {
        "detector": fitted.name,
        "category": group.category,
        "site": group.site,
        "site_role": _ROLE_OF.get(group.category, ""),
        "metric": metric,
        "value": None,
        "low": None,
        "high": None,
        "n": len(group.rows),
        "n_positive": None,
        "n_patients": len(np.unique(group.patients)),
        "n_reference": None,
        "threshold": None if detector is None else detector.threshold,
        "threshold_from": fitted.threshold_from,
        "reason": fitted.reason,
        **values,
    }


def _separations(
    fitted: Fitted,
    group: _Group,
    scores: np.ndarray,
    reference: _Group,
    reference_scores: np.ndarray,
    minimum: int,
) -> Iterator[dict[str, Any]]:
    counts = {"n_positive": len(scores), "n_reference": len(reference_scores)}
    reason = fitted.reason
    if reason == "ok" and min(counts.values()) < minimum:
        reason = "no_samples" if min(counts.values()) == 0 else "too_few"
    if reason != "ok":
        for metric in SEPARATIONS:
            yield _record(fitted, group, metric, **counts, reason=reason)
        return
    together = np.concatenate([reference_scores, scores])
    positive = np.arange(len(together)) >= len(reference_scores)
    point = separation(together, positive)
    draws = separation(together, positive, np.hstack([reference.weights, group.weights]))
    units = min(group.n_units, reference.n_units)
    for metric in SEPARATIONS:
        yield _record(
            fitted, group, metric, **counts, **_interval(group, point, draws, metric, units)
        )


def _interval(
    group: _Group, point: Separation, draws: Separation, metric: str, units: int
) -> dict[str, Any]:
    interval = group.sites.interval(getattr(draws, metric), units)
    value = float(getattr(point, metric)[0])
    if interval is None:
        return {"value": value, "reason": "interval_unstable"}
    return {"value": value, "low": interval[0], "high": interval[1], "reason": "ok"}


def _flag_rate(fitted: Fitted, group: _Group, scores: np.ndarray) -> dict[str, Any]:
    if fitted.detector is None or len(scores) == 0:
        reason = fitted.reason if fitted.detector is None else "no_samples"
        return _record(fitted, group, "flag_rate", reason=reason)
    flags = fitted.detector.flag(scores)
    low, high = group.sites.share_interval(flags, group.units)
    return _record(
        fitted,
        group,
        "flag_rate",
        value=float(flags.mean()),
        low=low,
        high=high,
        n_positive=int(flags.sum()),
    )


def _error_detection(
    fitted: Fitted, group: _Group, scores: np.ndarray, minimum: int
) -> dict[str, Any]:
    labelled = group.rows.labels >= 0
    truth = group.rows.labels[labelled]
    wrong = group.rows.probabilities[labelled].argmax(axis=1) != truth
    errors = int(wrong.sum())
    values: dict[str, Any] = {
        "category": "error",
        "n": len(wrong),
        "n_positive": errors,
        "n_patients": len(np.unique(group.patients[labelled])),
    }
    values["reason"] = fitted.reason
    if fitted.detector is not None:
        values["reason"] = _why_not(len(group.rows), len(wrong), errors, minimum)
    if values["reason"] == "ok":
        point = separation(scores[labelled], wrong)
        draws = separation(scores[labelled], wrong, group.weights[:, labelled])
        units = len(np.unique(group.units[labelled]))
        values |= _interval(group, point, draws, "auroc", units)
    return _record(fitted, group, "auroc", **values)


def _why_not(rows: int, labelled: int, errors: int, minimum: int) -> str:
    if rows == 0:
        return "no_samples"
    if labelled == 0:
        return "no_labels"
    if errors in (0, labelled):
        return "single_class"
    return "ok" if labelled >= minimum and errors >= 2 else "too_few"
