"""The table of prediction sets: what coverage a site really gets, and at what size."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from offsite.evaluation.conformal.sets import ConformalSets, PredictionSets, coverage_sd
from offsite.evaluation.conformal.weighted import density_ratios, weighted_sets
from offsite.evaluation.predictions.roles import HELD_OUT, crossings, roles_of
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.settings import ConformalSettings
from offsite.evaluation.statistics.binomial import share_p_value
from offsite.evaluation.statistics.site import POOLED, Site
from offsite.evaluation.statistics.sites import Sites
from offsite.evaluation.tables.schemas import SCHEMAS

EVERY = "_all"


def fit_sets(predictions: Predictions, settings: ConformalSettings) -> ConformalSets | None:
    """Sets calibrated on the labelled validation rows of training sites; ``None`` without any."""
    roles = roles_of(predictions.table)
    return _fitted(predictions.select(roles.calibrate & (predictions.labels >= 0)), settings)


def _fitted(rows: Predictions, settings: ConformalSettings) -> ConformalSets | None:
    if len(rows) == 0:
        return None
    sites = rows.table["site"].to_numpy(str)
    return ConformalSets.fit(rows.probabilities, rows.labels, sites, settings)


def conformal_table(sites: Sites, settings: ConformalSettings) -> pd.DataFrame:
    """Coverage and size of prediction sets, a row per site, level, label and weighting.

    Parameters
    ----------
    sites : Sites
        Validation rows of training sites calibrate; test rows are judged. Of a cross-validation
        the rows of the folds do both, each fold judged by the others.
    settings : ConformalSettings
        Levels, order, binning and back-off.
    """
    every = {level: _judged(sites, settings, level) for level in settings.levels}
    records: list[dict[str, Any]] = []
    for rows in sites.roles_first:
        for level, judged in every.items():
            own = None if judged is None else judged.select(rows.index)
            records.extend(_describe(sites, rows, level, own))
        alone = rows.role == HELD_OUT and rows.name != POOLED
        # Likeness to a site would compare answers of the fold models with answers of the refit.
        if alone and settings.weighted and _calibration_rows(sites).any():
            records.extend(_weighted(sites, rows, settings))
    return SCHEMAS["conformal"].frame(records)


def _calibration_rows(sites: Sites) -> np.ndarray:
    """The labelled validation rows of training sites, N booleans."""
    return np.asarray(sites.roles.calibrate & (sites.predictions.labels >= 0))


def _judged(sites: Sites, settings: ConformalSettings, level: float) -> PredictionSets | None:
    """The set of every row; ``None`` where a part of the rows has nothing to be calibrated on.

    Of a cross-validation the rows of a fold are judged by sets calibrated on the other folds
    (cross-conformal prediction, Vovk 2015), those of held-out sites by sets calibrated on all folds,
    which is what ships. The folds' bins share nearly all of their rows, so each counts as one, of as
    many rows as the smallest has.
    """
    predictions, known = sites.predictions, sites.predictions.labels >= 0
    parts = crossings(predictions.table, sites.roles)
    if not parts:
        parts = [(sites.roles.test, sites.roles.calibrate)]
    made: PredictionSets | None = None
    for judged, fitted_on in parts:
        sets = _fitted(predictions.select(fitted_on & known), settings)
        if sets is None:
            return None
        own = sets.predict(predictions.probabilities[judged], sites.names[judged], level)
        made = PredictionSets.empty(*predictions.probabilities.shape) if made is None else made
        made.put(judged, own)
    assert made is not None  # there is always a part
    if len(parts) > 1:
        _count_smallest(made, sites.names, np.asarray(sites.roles.crossed))
    return made


def _count_smallest(made: PredictionSets, names: np.ndarray, crossed: np.ndarray) -> None:
    """Give the rows of a site one bin for each class; the site's own only where it is in every fold."""
    for site in np.unique(names[crossed]):
        here = crossed & (names == site)
        made.bin_rows[here] = made.bin_rows[here].min(axis=0)
        made.local[here] = made.local[here].all(axis=0)


def _features(predictions: Predictions, rows: np.ndarray) -> np.ndarray:
    """Embeddings of rows, or log probabilities where there are none."""
    if predictions.embeddings is not None:
        return predictions.embeddings[rows]
    return np.log(np.maximum(predictions.probabilities[rows], 1e-12))


def _weighted(sites: Sites, rows: Site, settings: ConformalSettings) -> Iterator[dict[str, Any]]:
    predictions = sites.predictions
    known = np.flatnonzero(_calibration_rows(sites))
    ratios, site_ratios = density_ratios(
        _features(predictions, known),
        _features(predictions, rows.index),
        sites.patients[known],
        sites.patients[rows.index],
        settings,
    )
    calibration = (predictions.probabilities[known], predictions.labels[known], ratios)
    for level in settings.levels:
        judged = weighted_sets(calibration, (rows.probabilities, site_ratios), level, settings)
        yield from _describe(sites, rows, level, judged)


def _describe(
    sites: Sites, rows: Site, level: float, judged: PredictionSets | None
) -> Iterator[dict[str, Any]]:
    for index, label in enumerate((EVERY, *sites.predictions.classes)):
        of_label = rows.labels >= 0 if label == EVERY else rows.labels == index - 1
        record: dict[str, Any] = rows.place | {
            "level": level,
            "label": label,
            "n": int(of_label.sum()),
            "n_patients": rows.patients_among(of_label),
            "weighted": judged is not None and judged.effective is not None,
            "reason": _why_not(rows.labels, of_label, judged),
        }
        if judged is not None:
            # Sizes need no labels: over all labels, every row of the site counts.
            record |= _sizes(judged, np.ones_like(of_label) if label == EVERY else of_label)
        if judged is not None and record["reason"] == "ok":
            record |= _coverage(sites, rows, judged, np.flatnonzero(of_label), level)
        yield record


def _why_not(labels: np.ndarray, of_label: np.ndarray, judged: PredictionSets | None) -> str:
    if judged is None or len(labels) == 0:
        return "no_samples"
    if not (labels >= 0).any():
        return "no_labels"
    return "ok" if of_label.any() else "no_samples"


def _sizes(judged: PredictionSets, of_label: np.ndarray) -> dict[str, Any]:
    if not of_label.any():
        return {}
    sizes = judged.sizes[of_label]
    return {
        "mean_size": float(sizes.mean()),
        "singleton_rate": float((sizes == 1).mean()),
        "empty_rate": float((sizes == 0).mean()),
        "refer_rate": float(judged.refer[of_label].mean()),
    }


def _coverage(
    sites: Sites, site: Site, judged: PredictionSets, rows: np.ndarray, level: float
) -> dict[str, Any]:
    labels, units = site.labels[rows], site.units[rows]
    covered = judged.members[rows, labels]
    low, high = sites.share_interval(covered, units)
    local, sizes = judged.local[rows, labels], judged.bin_rows[rows, labels]
    bins = _bins(sites.names[site.index[rows]], labels, local, sizes)
    result: dict[str, Any] = {
        "coverage": float(covered.mean()),
        "low": low,
        "high": high,
        "calibrated_at": "site" if local.all() else "mixed" if local.any() else "parent",
        "n_calibration": int(sum(size for size, _ in bins)),
    }
    if judged.effective is not None:
        return result | {"n_effective": float(judged.effective[np.unique(labels)].sum())}
    deviation = _combined_sd(bins, level)
    if deviation is not None:
        # So many calibration cases would spread the coverage as much.
        like = level * (1 - level) / deviation**2
        result["p_value"] = share_p_value(covered, units, level, like=like)
    return result | {"beta_sd": deviation}


def _bins(
    sites: np.ndarray, labels: np.ndarray, local: np.ndarray, sizes: np.ndarray
) -> list[tuple[int, float]]:
    """(calibration rows, share of the judged rows) of each bin in use."""
    keys = pd.DataFrame({"site": np.where(local, sites, ""), "label": labels, "size": sizes})
    counts = keys.groupby(["site", "label", "size"]).size()
    return [(int(key[2]), count / len(keys)) for key, count in counts.items()]  # type: ignore[index]


def _combined_sd(bins: list[tuple[int, float]], level: float) -> float | None:
    """Of a mean over bins that were calibrated apart; ``None`` where a bin has no threshold."""
    variance = 0.0
    for size, share in bins:
        deviation = coverage_sd(size, level)
        if deviation is None:
            return None
        variance += (share * deviation) ** 2
    return float(np.sqrt(variance))
