"""Selective prediction: how wrong the answered cases are, when the least confident go to a person."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from offsite.evaluation.settings import SelectiveSettings
from offsite.evaluation.statistics.estimates import Reason
from offsite.evaluation.statistics.resampling import blocks
from offsite.evaluation.statistics.risk_coverage import RiskCoverage
from offsite.evaluation.statistics.sites import ALL, Site, Sites
from offsite.evaluation.tables.schemas import SCHEMAS


@dataclass(frozen=True, kw_only=True, eq=False)
class _Answered:
    """Labelled test rows of a site with how sure the model is of each, and whether it errs."""

    site: Site
    confidence: np.ndarray
    wrong: np.ndarray

    @classmethod
    def of(cls, site: Site) -> "_Answered":
        sample = site.sample
        return cls(
            site=site,
            confidence=sample.probabilities.max(axis=1),
            wrong=sample.probabilities.argmax(axis=1) != sample.labels,
        )

    def record(self, metric: str, **values: Any) -> dict[str, Any]:
        return {
            "site": self.site.name,
            "site_role": self.site.role,
            "metric": metric,
            "n": len(self.wrong),
            "n_positive": int(self.wrong.sum()),
            "n_patients": self.site.sample.n_patients,
            **values,
        }


def selective_table(sites: Sites, settings: SelectiveSettings) -> pd.DataFrame:
    """A row per site and metric.

    Parameters
    ----------
    sites : Sites
        Test rows are measured; validation rows of training sites give the carried thresholds.
    settings : SelectiveSettings
        Coverages, and how many of the sites' draws are used.
    """
    calibration = sites.predictions.probabilities[sites.roles.calibrate].max(axis=1)
    records: list[dict[str, Any]] = []
    for site in _shown(sites):
        answered = _Answered.of(site)
        records.extend(_intrinsic(answered, sites, settings))
        for coverage in settings.coverages:
            records.extend(_carried(answered, calibration, coverage, sites))
    return SCHEMAS["selective"].frame(records)


def risk_coverage_table(sites: Sites, settings: SelectiveSettings) -> pd.DataFrame:
    """Thinned risk-coverage curves of every site with labels, from low to full coverage."""
    records: list[dict[str, Any]] = []
    for site in _shown(sites):
        if site.why_not(sites.settings.minimum_rows) is not Reason.OK:
            continue
        answered = _Answered.of(site)
        curve = RiskCoverage.of(answered.confidence, answered.wrong)
        accepted, errors, total = curve.accepted[0], curve.errors[0], curve.n[0]
        wanted = np.linspace(0, total, settings.points)[1:]
        for index in np.unique(np.searchsorted(accepted, wanted - 1e-9)):
            records.append(
                {
                    "site": site.name,
                    "site_role": site.role,
                    "coverage": accepted[index] / total,
                    "selective_risk": errors[index] / accepted[index],
                    "generalized_risk": errors[index] / total,
                    "threshold": curve.thresholds[index],
                    "n": int(total),
                }
            )
    return SCHEMAS["risk_coverage"].frame(records)


def _shown(sites: Sites) -> list[Site]:
    """Each role pooled, then each site."""
    return [*(site for site in sites.pools if site.role != ALL), *sites.single]


def _metrics(curve: RiskCoverage, coverages: tuple[float, ...]) -> dict[str, np.ndarray]:
    named = {
        "accuracy": 1 - curve.errors[:, -1] / curve.n,
        "aurc": curve.aurc(),
        "e_aurc": curve.excess_aurc(),
        "augrc": curve.augrc(),
    }
    return named | {f"accuracy_at_{100 * c:g}": curve.accuracy_at(c) for c in coverages}


def _intrinsic(
    answered: _Answered, sites: Sites, settings: SelectiveSettings
) -> Iterator[dict[str, Any]]:
    sample = answered.site.sample
    reason = answered.site.why_not(sites.settings.minimum_rows)
    if reason is not Reason.OK:
        names = ["accuracy", "aurc", "e_aurc", "augrc"]
        names += [f"accuracy_at_{100 * c:g}" for c in settings.coverages]
        yield from (answered.record(name, reason=reason.value) for name in names)
        return
    confidence, wrong = answered.confidence, answered.wrong
    counts = answered.site.counts[: 1 + settings.resamples]
    parts = [
        _metrics(RiskCoverage.of(confidence, wrong, block[:, sample.units]), settings.coverages)
        for block in blocks(counts, sample.n)
    ]
    for name in parts[0]:
        values = np.concatenate([part[name] for part in parts])
        # A share has its exact interval here as in the per-site table.
        exact = name == "accuracy"
        told = (
            sites.of_share(~wrong, sample.units)
            if exact
            else sites.of_draws(values, sample.n_units)
        )
        yield answered.record(name, **told)


def _carried(
    answered: _Answered, calibration: np.ndarray, coverage: float, sites: Sites
) -> Iterator[dict[str, Any]]:
    """What a confidence threshold chosen on calibration rows yields at the site."""
    names = [f"{what}_at_threshold_{100 * coverage:g}" for what in ("coverage", "accuracy")]
    sample, minimum = answered.site.sample, sites.settings.minimum_rows
    reason = answered.site.why_not(minimum)
    if reason is Reason.OK and len(calibration) < minimum:
        reason = Reason.NO_SAMPLES if len(calibration) == 0 else Reason.TOO_FEW
    if reason is not Reason.OK:
        yield from (answered.record(name, reason=reason.value) for name in names)
        return
    threshold = np.quantile(calibration, 1 - coverage, method="lower")
    accepted = answered.confidence >= threshold
    yield answered.record(names[0], **sites.of_share(accepted, sample.units))
    right, units = ~answered.wrong[accepted], sample.units[accepted]
    told = sites.of_share(right, units) if len(right) else {"reason": Reason.NO_SAMPLES.value}
    told |= {"n": len(right), "n_positive": int((~right).sum())}
    yield answered.record(names[1], **told, n_patients=sample.patients_of(units))
