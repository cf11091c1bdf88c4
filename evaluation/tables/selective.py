"""Selective prediction: how wrong the answered cases are, when the least confident go to a person."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from offsite.evaluation.predictions.roles import crossings
from offsite.evaluation.settings import SelectiveSettings
from offsite.evaluation.statistics.estimates import Reason
from offsite.evaluation.statistics.resampling import blocks
from offsite.evaluation.statistics.risk_coverage import RiskCoverage
from offsite.evaluation.statistics.sites import ALL, Site, Sites
from offsite.evaluation.tables.schemas import SCHEMAS


@dataclass(frozen=True, eq=False)
class _Answered:
    """Labelled test rows of a site with how sure the model is of each, and whether it errs."""

    site: Site

    @cached_property
    def confidence(self) -> np.ndarray:
        return self.site.probabilities.max(axis=1)

    @cached_property
    def wrong(self) -> np.ndarray:
        return self.site.probabilities.argmax(axis=1) != self.site.labels

    def record(self, metric: str, **values: Any) -> dict[str, Any]:
        counts = {"n": len(self.wrong), "n_positive": int(self.wrong.sum())}
        facts = {"metric": metric, "n_patients": self.site.n_patients}
        return self.site.place | facts | counts | values


def selective_table(sites: Sites, settings: SelectiveSettings) -> pd.DataFrame:
    """A row per site and metric.

    Parameters
    ----------
    sites : Sites
        Test rows are measured; validation rows of training sites give the carried thresholds, of
        a cross-validation the other folds those of a fold.
    settings : SelectiveSettings
        Coverages, and how many of the sites' draws are used.
    """
    carried = {coverage: _thresholds(sites, coverage) for coverage in settings.coverages}
    records: list[dict[str, Any]] = []
    for site in _shown(sites):
        answered = _Answered(site)
        records.extend(_intrinsic(answered, sites, settings))
        for coverage in settings.coverages:
            records.extend(_carried(answered, carried[coverage], coverage, sites))
    return SCHEMAS["selective"].frame(records)


def _thresholds(sites: Sites, coverage: float) -> tuple[np.ndarray, int]:
    """The confidence that each row must reach, N, and on how few rows one was chosen."""
    confidence = sites.predictions.probabilities.max(axis=1)
    everywhere = [(np.ones(len(confidence), dtype=bool), sites.roles.calibrate)]
    thresholds, fewest = np.full(len(confidence), np.nan), len(confidence)
    for judged, chosen_on in crossings(sites.predictions.table, sites.roles) or everywhere:
        fewest = min(fewest, int(chosen_on.sum()))
        if chosen_on.any():
            chosen = np.quantile(confidence[chosen_on], 1 - coverage, method="lower")
            thresholds[judged] = chosen
    return thresholds, fewest


def risk_coverage_table(sites: Sites, settings: SelectiveSettings) -> pd.DataFrame:
    """Thinned risk-coverage curves of every site with labels, from low to full coverage."""
    records: list[dict[str, Any]] = []
    for site in _shown(sites):
        if site.why_not(sites.settings.minimum_rows) is not Reason.OK:
            continue
        answered = _Answered(site)
        curve = RiskCoverage.of(answered.confidence, answered.wrong)
        accepted, errors, total = curve.accepted[0], curve.errors[0], curve.n[0]
        wanted = np.linspace(0, total, settings.points)[1:]
        for index in np.unique(np.searchsorted(accepted, wanted - 1e-9)):
            records.append(
                site.place
                | {
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
    site = answered.site
    reason = site.why_not(sites.settings.minimum_rows)
    if reason is not Reason.OK:
        names = ["accuracy", "aurc", "e_aurc", "augrc"]
        names += [f"accuracy_at_{100 * c:g}" for c in settings.coverages]
        yield from (answered.record(name, reason=reason.value) for name in names)
        return
    confidence, wrong = answered.confidence, answered.wrong
    parts = [
        _metrics(RiskCoverage.of(confidence, wrong, block[:, site.units]), settings.coverages)
        for block in blocks(site.counts[: 1 + settings.resamples], len(site))
    ]
    # A share has its exact interval here as in the per-site table.
    yield answered.record("accuracy", **sites.of_share(~wrong, site.units))
    for name in [name for name in parts[0] if name != "accuracy"]:
        values = np.concatenate([part[name] for part in parts])
        yield answered.record(name, **sites.of_draws(values, site.n_units))


def _carried(
    answered: _Answered, carried: tuple[np.ndarray, int], coverage: float, sites: Sites
) -> Iterator[dict[str, Any]]:
    """What a confidence threshold chosen on calibration rows yields at the site."""
    names = [f"{what}_at_threshold_{100 * coverage:g}" for what in ("coverage", "accuracy")]
    site, minimum = answered.site, sites.settings.minimum_rows
    reason = site.why_not(minimum)
    thresholds, chosen_on = carried
    if reason is Reason.OK and chosen_on < minimum:
        reason = Reason.NO_SAMPLES if chosen_on == 0 else Reason.TOO_FEW
    if reason is not Reason.OK:
        yield from (answered.record(name, reason=reason.value) for name in names)
        return
    accepted = answered.confidence >= thresholds[site.index]
    yield answered.record(names[0], **sites.of_share(accepted, site.units))
    right, units = ~answered.wrong[accepted], site.units[accepted]
    told = sites.of_share(right, units) | {"n": len(right), "n_positive": int((~right).sum())}
    yield answered.record(names[1], **told, n_patients=site.patients_of(units))
