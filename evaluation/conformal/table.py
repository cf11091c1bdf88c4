"""The table of prediction sets: what coverage a site really gets, and at what size."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from offsite.evaluation.conformal.sets import ConformalSets, PredictionSets, coverage_sd
from offsite.evaluation.conformal.settings import ConformalSettings
from offsite.evaluation.conformal.weighted import density_ratios, weighted_sets
from offsite.evaluation.predictions.roles import HELD_OUT, roles_of
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.statistics.binomial import share_p_value
from offsite.evaluation.statistics.rows import POOLED, Rows
from offsite.evaluation.statistics.sites import Sites
from offsite.evaluation.tables.schemas import SCHEMAS

ALL = "_all"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Group:
    """Test rows of a site, or of all sites of a role."""

    sites: Sites
    rows: Rows

    @cached_property
    def probabilities(self) -> np.ndarray:
        return self.sites.predictions.probabilities[self.rows.index]

    @cached_property
    def labels(self) -> np.ndarray:
        return self.sites.predictions.labels[self.rows.index]

    @cached_property
    def names(self) -> np.ndarray:
        return self.sites.names[self.rows.index]

    def features(self, rows: np.ndarray) -> np.ndarray:
        """Embeddings of rows of the predictions, or log probabilities where there are none."""
        predictions = self.sites.predictions
        if predictions.embeddings is not None:
            return predictions.embeddings[rows]
        return np.log(np.maximum(predictions.probabilities[rows], 1e-12))


def fit_sets(predictions: Predictions, settings: ConformalSettings) -> ConformalSets | None:
    """Sets calibrated on the labelled validation rows of training sites; ``None`` without any."""
    roles = roles_of(predictions.table)
    rows = predictions.select(roles.calibrate & (predictions.labels >= 0))
    if len(rows) == 0:
        return None
    sites = rows.table["site"].to_numpy(str)
    return ConformalSets.fit(rows.probabilities, rows.labels, sites, settings)


def conformal_table(sites: Sites, settings: ConformalSettings) -> pd.DataFrame:
    """Coverage and size of prediction sets, a row per site, level, label and weighting.

    Parameters
    ----------
    sites : Sites
        Validation rows of training sites calibrate; test rows are judged.
    settings : ConformalSettings
        Levels, order, binning and back-off.
    """
    sets = fit_sets(sites.predictions, settings)
    records: list[dict[str, Any]] = []
    for rows in sites.shown():
        group = _Group(sites=sites, rows=rows)
        for level in settings.levels:
            judged = None if sets is None else sets.predict(group.probabilities, group.names, level)
            records.extend(_describe(group, level, judged))
        alone = rows.role == HELD_OUT and rows.name != POOLED
        if alone and settings.weighted and sets is not None:
            records.extend(_weighted(group, settings))
    return SCHEMAS["conformal"].frame(records)


def _weighted(group: _Group, settings: ConformalSettings) -> Iterator[dict[str, Any]]:
    sites, index = group.sites, group.rows.index
    known = np.flatnonzero(sites.roles.calibrate & (sites.predictions.labels >= 0))
    probabilities, labels = sites.predictions.probabilities[known], sites.predictions.labels[known]
    ratios, site_ratios = density_ratios(
        group.features(known),
        group.features(index),
        sites.patients[known],
        sites.patients[index],
        settings,
    )
    calibration, target = (probabilities, labels, ratios), (group.probabilities, site_ratios)
    for level in settings.levels:
        yield from _describe(group, level, weighted_sets(calibration, target, level, settings))


def _describe(
    group: _Group, level: float, judged: PredictionSets | None
) -> Iterator[dict[str, Any]]:
    for index, label in enumerate((ALL, *group.sites.predictions.classes)):
        of_label = group.labels >= 0 if label == ALL else group.labels == index - 1
        record: dict[str, Any] = {
            "site": group.rows.name,
            "site_role": group.rows.role,
            "level": level,
            "label": label,
            "n": int(of_label.sum()),
            "n_patients": group.rows.n_patients(of_label),
            "weighted": judged is not None and judged.effective is not None,
            "reason": _why_not(group.labels, of_label, judged),
        }
        if judged is not None:
            # Sizes need no labels: over all labels, every row of the site counts.
            record |= _sizes(judged, np.ones_like(of_label) if label == ALL else of_label)
        if judged is not None and record["reason"] == "ok":
            record |= _coverage(group, judged, of_label, level)
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
    group: _Group, judged: PredictionSets, of_label: np.ndarray, level: float
) -> dict[str, Any]:
    rows = np.flatnonzero(of_label)
    labels, units = group.labels[rows], group.rows.units[rows]
    covered = judged.members[rows, labels]
    low, high = group.sites.share_interval(covered, units)
    local, sizes = judged.local[rows, labels], judged.bin_rows[rows, labels]
    bins = _bins(group.names[rows], labels, local, sizes)
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
