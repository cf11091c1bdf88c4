"""Selective prediction: how wrong the answered cases are, when the least confident go to a person."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from offsite.evaluation.predictions.roles import HELD_OUT, TRAINING, Roles, patients_of, roles_of
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.settings import SelectiveSettings
from offsite.evaluation.statistics.binomial import clustered_interval
from offsite.evaluation.statistics.intervals import percentile_interval
from offsite.evaluation.statistics.patient_weights import patient_weights
from offsite.evaluation.statistics.risk_coverage import RiskCoverage
from offsite.evaluation.tables.frames import nullable_frame

POOLED = "_pooled"
_BLOCK = 64
METRIC_COLUMNS = {
    "site": "str",
    "site_role": "str",
    "metric": "str",
    "value": "Float64",
    "low": "Float64",
    "high": "Float64",
    "n": "Int64",
    "n_positive": "Int64",
    "n_patients": "Int64",
    "reason": "str",
}
CURVE_COLUMNS = {
    "site": "str",
    "site_role": "str",
    "coverage": "Float64",
    "selective_risk": "Float64",
    "generalized_risk": "Float64",
    "threshold": "Float64",
    "n": "Int64",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class _Cases:
    """Labelled test rows of a site."""

    site: str
    role: str
    confidence: np.ndarray
    wrong: np.ndarray
    patients: np.ndarray
    rows: int

    def record(self, metric: str, reason: str = "ok", **values: Any) -> dict[str, Any]:
        return {
            "site": self.site,
            "site_role": self.role,
            "metric": metric,
            "n": len(self.wrong),
            "n_positive": int(self.wrong.sum()),
            "n_patients": len(np.unique(self.patients)),
            "reason": reason,
            **values,
        }

    def why_not(self, minimum: int) -> str:
        if self.rows == 0:
            return "no_samples"
        if len(self.wrong) == 0:
            return "no_labels"
        return "ok" if len(self.wrong) >= minimum else "too_few"


def selective_table(predictions: Predictions, settings: SelectiveSettings) -> pd.DataFrame:
    """A row per site and metric; columns as in ``docs/evaluation/ood_and_shift.md``.

    Parameters
    ----------
    predictions : Predictions
        Test rows are measured; validation rows of training sites give the carried thresholds.
    settings : SelectiveSettings
        Coverages, resamples and seed.
    """
    roles = roles_of(predictions.table)
    calibration = predictions.probabilities[roles.calibrate].max(axis=1)
    generator = np.random.default_rng(np.random.SeedSequence(settings.seed))
    records: list[dict[str, Any]] = []
    for cases in _sites(predictions, roles):
        records.extend(_intrinsic(cases, settings, generator))
        for coverage in settings.coverages:
            records.extend(_carried(cases, calibration, coverage, settings))
    return nullable_frame(records, METRIC_COLUMNS)


def risk_coverage_table(predictions: Predictions, settings: SelectiveSettings) -> pd.DataFrame:
    """Thinned risk-coverage curves of every site with labels, from low to full coverage."""
    roles = roles_of(predictions.table)
    records: list[dict[str, Any]] = []
    for cases in _sites(predictions, roles):
        if cases.why_not(settings.minimum_rows) != "ok":
            continue
        curve = RiskCoverage.of(cases.confidence, cases.wrong)
        accepted, errors, total = curve.accepted[0], curve.errors[0], curve.n[0]
        wanted = np.linspace(0, total, settings.points)[1:]
        for index in np.unique(np.searchsorted(accepted, wanted - 1e-9)):
            records.append(
                {
                    "site": cases.site,
                    "site_role": cases.role,
                    "coverage": accepted[index] / total,
                    "selective_risk": errors[index] / accepted[index],
                    "generalized_risk": errors[index] / total,
                    "threshold": curve.thresholds[index],
                    "n": int(total),
                }
            )
    return nullable_frame(records, CURVE_COLUMNS)


def _sites(predictions: Predictions, roles: Roles) -> Iterator[_Cases]:
    sites = predictions.table["site"].to_numpy(str)
    named = [
        (POOLED, role, roles.test & (roles.site_role == role)) for role in (TRAINING, HELD_OUT)
    ]
    groups = [group for group in named if group[2].any()]
    for site, role in roles.test_sites(sites):
        groups.append((site, role, roles.test & (sites == site) & (roles.site_role == role)))
    for site, role, mask in groups:
        rows = predictions.select(mask & (predictions.labels >= 0))
        yield _Cases(
            site=site,
            role=role,
            confidence=rows.probabilities.max(axis=1),
            wrong=rows.probabilities.argmax(axis=1) != rows.labels,
            patients=patients_of(rows),
            rows=int(mask.sum()),
        )


def _metrics(curve: RiskCoverage, coverages: tuple[float, ...]) -> dict[str, np.ndarray]:
    named = {
        "accuracy": 1 - curve.errors[:, -1] / curve.n,
        "aurc": curve.aurc(),
        "e_aurc": curve.excess_aurc(),
        "augrc": curve.augrc(),
    }
    return named | {f"accuracy_at_{100 * c:g}": curve.accuracy_at(c) for c in coverages}


def _intrinsic(
    cases: _Cases, settings: SelectiveSettings, generator: np.random.Generator
) -> Iterator[dict[str, Any]]:
    reason = cases.why_not(settings.minimum_rows)
    if reason != "ok":
        names = ["accuracy", "aurc", "e_aurc", "augrc"]
        names += [f"accuracy_at_{100 * c:g}" for c in settings.coverages]
        yield from (cases.record(name, reason) for name in names)
        return
    weights = patient_weights(cases.patients, settings.resamples, generator)
    point = _metrics(RiskCoverage.of(cases.confidence, cases.wrong), settings.coverages)
    parts = [
        _metrics(
            RiskCoverage.of(cases.confidence, cases.wrong, weights[start : start + _BLOCK]),
            settings.coverages,
        )
        for start in range(0, len(weights), _BLOCK)
    ]
    units = len(np.unique(cases.patients))
    for name, value in point.items():
        interval = percentile_interval(np.concatenate([part[name] for part in parts]), units)
        low, high = interval or (None, None)
        reason = "ok" if interval else "interval_unstable"
        yield cases.record(name, reason, value=float(value[0]), low=low, high=high)


def _carried(
    cases: _Cases, calibration: np.ndarray, coverage: float, settings: SelectiveSettings
) -> Iterator[dict[str, Any]]:
    """What a confidence threshold chosen on calibration rows yields at the site."""
    names = [f"{what}_at_threshold_{100 * coverage:g}" for what in ("coverage", "accuracy")]
    reason = cases.why_not(settings.minimum_rows)
    if reason == "ok" and len(calibration) < settings.minimum_rows:
        reason = "no_samples" if len(calibration) == 0 else "too_few"
    if reason != "ok":
        yield from (cases.record(name, reason) for name in names)
        return
    threshold = np.quantile(calibration, 1 - coverage, method="lower")
    accepted = cases.confidence >= threshold
    low, high = clustered_interval(accepted, cases.patients)
    yield cases.record(names[0], value=float(accepted.mean()), low=low, high=high)
    if not accepted.any():
        yield cases.record(names[1], "no_samples", n=0, n_positive=0, n_patients=0)
        return
    right, patients = ~cases.wrong[accepted], cases.patients[accepted]
    low, high = clustered_interval(right, patients)
    yield cases.record(
        names[1],
        value=float(right.mean()),
        low=low,
        high=high,
        n=len(right),
        n_positive=int((~right).sum()),
        n_patients=len(np.unique(patients)),
    )
