"""The table of prediction sets: what coverage a site really gets, and at what size."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from offsite.evaluation.conformal.sets import ConformalSets, coverage_sd
from offsite.evaluation.conformal.settings import ConformalSettings
from offsite.evaluation.conformal.weighted import density_ratios, weighted_sets
from offsite.evaluation.predictions.roles import HELD_OUT, roles_of
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.statistics.sites import POOLED, Sites
from offsite.evaluation.tables.frames import nullable_frame

ALL = "_all"
COLUMNS = {
    "site": "str",
    "site_role": "str",
    "level": "Float64",
    "label": "str",
    "coverage": "Float64",
    "low": "Float64",
    "high": "Float64",
    "beta_sd": "Float64",
    "mean_size": "Float64",
    "singleton_rate": "Float64",
    "empty_rate": "Float64",
    "refer_rate": "Float64",
    "calibrated_at": "str",
    "n": "Int64",
    "n_patients": "Int64",
    "n_calibration": "Int64",
    "n_effective": "Float64",
    "weighted": "boolean",
    "reason": "str",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class _Group:
    """Test rows of a site, or of all sites of a role."""

    sites: Sites
    site: str
    role: str
    mask: np.ndarray

    @cached_property
    def rows(self) -> Predictions:
        return self.sites.predictions.select(self.mask)

    @property
    def units(self) -> np.ndarray:
        return self.sites.units[self.mask]

    @property
    def patients(self) -> np.ndarray:
        return self.sites.patients[self.mask]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Judged:
    """Sets of a group's rows, with what is needed to describe them."""

    members: np.ndarray
    refer: np.ndarray
    local: np.ndarray
    bin_rows: np.ndarray
    effective: np.ndarray | None = None


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

    Returns
    -------
    pandas.DataFrame
        Columns as in ``docs/evaluation/ood_and_shift.md``.
    """
    sets = fit_sets(sites.predictions, settings)
    records: list[dict[str, Any]] = []
    for site, role, mask in sites.groups():
        group = _Group(sites=sites, site=site, role=role, mask=mask)
        for level in settings.levels:
            judged = None if sets is None else _judge(group, sets, level)
            records.extend(_describe(group, level, judged))
        if role == HELD_OUT and site != POOLED and settings.weighted and sets is not None:
            records.extend(_weighted(group, settings))
    return nullable_frame(records, COLUMNS)


def _judge(group: _Group, sets: ConformalSets, level: float) -> _Judged:
    rows = group.rows
    predicted = sets.predict(rows.probabilities, rows.table["site"].to_numpy(str), level)
    return _Judged(
        members=predicted.members,
        refer=predicted.refer,
        local=predicted.local,
        bin_rows=predicted.bin_rows,
    )


def _weighted(group: _Group, settings: ConformalSettings) -> Iterator[dict[str, Any]]:
    sites, rows = group.sites, group.rows
    calibration = sites.roles.calibrate & (sites.predictions.labels >= 0)
    source = sites.predictions.select(calibration)
    patients = sites.patients[calibration], sites.patients[group.mask]
    ratios, site_ratios = density_ratios(_features(source), _features(rows), *patients, settings)
    counts = np.bincount(source.labels, minlength=len(rows.classes))
    used = counts if settings.by_class else np.full(len(counts), counts.sum())
    for level in settings.levels:
        predicted = weighted_sets(
            (source.probabilities, source.labels, ratios),
            (rows.probabilities, site_ratios),
            level,
            settings,
        )
        judged = _Judged(
            members=predicted.members,
            refer=predicted.refer,
            local=np.zeros(predicted.members.shape, dtype=bool),
            bin_rows=np.tile(used, (len(rows), 1)),
            effective=predicted.effective,
        )
        yield from _describe(group, level, judged)


def _features(rows: Predictions) -> np.ndarray:
    """Embeddings, or log probabilities where there are none."""
    if rows.embeddings is not None:
        return rows.embeddings
    return np.log(np.maximum(rows.probabilities, 1e-12))


def _describe(group: _Group, level: float, judged: _Judged | None) -> Iterator[dict[str, Any]]:
    rows = group.rows
    for index, label in enumerate((ALL, *rows.classes)):
        of_label = rows.labels >= 0 if label == ALL else rows.labels == index - 1
        record: dict[str, Any] = {
            "site": group.site,
            "site_role": group.role,
            "level": level,
            "label": label,
            "n": int(of_label.sum()),
            "n_patients": len(np.unique(group.patients[of_label])),
            "calibrated_at": "",
            "weighted": judged is not None and judged.effective is not None,
            "reason": _why_not(rows, of_label, judged),
        }
        if judged is not None:
            # Sizes need no labels: over all labels, every row of the site counts.
            record |= _sizes(judged, np.ones(len(rows), dtype=bool) if label == ALL else of_label)
        if judged is not None and record["reason"] == "ok":
            record |= _coverage(group, judged, of_label, level)
        yield record


def _why_not(rows: Predictions, of_label: np.ndarray, judged: _Judged | None) -> str:
    if judged is None or len(rows) == 0:
        return "no_samples"
    if not (rows.labels >= 0).any():
        return "no_labels"
    return "ok" if of_label.any() else "no_samples"


def _sizes(judged: _Judged, of_label: np.ndarray) -> dict[str, Any]:
    if not of_label.any():
        return {}
    sizes = judged.members[of_label].sum(axis=1)
    return {
        "mean_size": float(sizes.mean()),
        "singleton_rate": float((sizes == 1).mean()),
        "empty_rate": float((sizes == 0).mean()),
        "refer_rate": float(judged.refer[of_label].mean()),
    }


def _coverage(group: _Group, judged: _Judged, of_label: np.ndarray, level: float) -> dict[str, Any]:
    rows = np.flatnonzero(of_label)
    labels = group.rows.labels[rows]
    covered = judged.members[rows, labels]
    low, high = group.sites.share_interval(covered, group.units[rows])
    local, sizes = judged.local[rows, labels], judged.bin_rows[rows, labels]
    bins = _bins(group.rows.table["site"].to_numpy(str)[rows], labels, local, sizes)
    result: dict[str, Any] = {
        "coverage": float(covered.mean()),
        "low": low,
        "high": high,
        "calibrated_at": "site" if local.all() else "mixed" if local.any() else "parent",
        "n_calibration": int(sum(size for size, _ in bins)),
    }
    if judged.effective is not None:
        return result | {"n_effective": float(judged.effective[np.unique(labels)].sum())}
    return result | {"beta_sd": _combined_sd(bins, level)}


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
