"""Performance shift of a labelled site: discrimination, and what prior correction would do."""

import numpy as np
from scipy.special import logit
from scipy.stats import t

from offsite.evaluation.metrics.confusion import ratio
from offsite.evaluation.metrics.scoring import log_loss_rows
from offsite.evaluation.shift.label_shift import prior_corrected
from offsite.evaluation.shift.prevalence import Priors
from offsite.evaluation.shift.sides import Cells, Comparison, Side
from offsite.evaluation.statistics.delong import (
    Placements,
    averaged,
    covariance,
    degrees_of_freedom,
)

KIND = "performance"


def auroc_change_row(pair: Comparison) -> Cells:
    """The headline: macro AUROC of the site minus the reference's, over classes both have.

    The variances are those of the placement values, by patient, and add up, as the sites share
    no patient. The test is one-sided, for a lower area, on the logit scale.
    """
    return pair.row(KIND, "auroc_change", _auroc_change(pair), labelled=True)


def _auroc_change(pair: Comparison) -> Cells | str:
    for side in pair.sides:
        if (reason := _why_not(side, pair)) != "ok":
            return reason
    local, reference = pair.local.areas, pair.reference.areas
    common = sorted(local.keys() & reference.keys())
    if not common:
        return "single_class"
    one, other = (averaged([side[c] for c in common]) for side in (local, reference))
    value = one.auroc - other.auroc
    variances = [covariance(one, one), covariance(other, other)]
    if sum(variances) <= 0:
        return {"value": value, "reason": "interval_unstable"}
    parts = [v**2 / degrees_of_freedom(a) for v, a in zip(variances, (one, other), strict=True)]
    degrees = sum(variances) ** 2 / sum(parts)
    width = t.ppf((1 + pair.sites.settings.confidence) / 2, degrees) * np.sqrt(sum(variances))
    p_value = _p_value(one, other, variances, degrees)
    return {"value": value, "low": value - width, "high": value + width, "p_value": p_value}


def _p_value(one: Placements, other: Placements, variances: list[float], degrees: float) -> float:
    """Of so low a first area were both the same."""
    if one.auroc >= 1 or other.auroc <= 0 or one.auroc <= 0:
        return 1.0 if one.auroc >= other.auroc else 0.0
    if other.auroc >= 1:
        gap, error = one.auroc - 1, np.sqrt(sum(variances))
    else:
        scales = [area.auroc * (1 - area.auroc) for area in (one, other)]
        gap = logit(one.auroc) - logit(other.auroc)
        error = np.sqrt(sum(v / s**2 for v, s in zip(variances, scales, strict=True)))
    return float(t.cdf(gap / error, degrees))


def detail_rows(pair: Comparison, priors: Priors) -> list[Cells]:
    """AUROC, accuracy and log loss; the last two also with the prior corrected by EM."""
    names = ("accuracy", "log_loss")
    area: Cells | str = _why_not(pair.local, pair)
    plain: list[Cells | str] = [area] * len(names)
    corrected = plain
    if area == "ok":
        area, calibrated = _area(pair), pair.local.calibrated
        plain = [_scored(name, pair, calibrated) for name in names]
        corrected = [priors.problem] * len(names)
        if priors.problem == "ok":
            better = prior_corrected(calibrated, priors.model, priors.estimate)
            corrected = [_scored(name, pair, better) for name in names]
    rows = [pair.row(KIND, "auroc", area, labelled=True)]
    rows += [pair.row(KIND, *both, labelled=True) for both in zip(names, plain, strict=True)]
    for name, found in zip(names, corrected, strict=True):
        name = f"{name}_prior_corrected"
        rows.append(pair.row(KIND, name, found, labelled=True, transductive=True))
    return rows


def _why_not(side: Side, pair: Comparison) -> str:
    known = int(side.labelled.sum())
    if known == 0:
        return "no_labels" if len(side) else "no_samples"
    return "ok" if known >= pair.settings.minimum_rows else "too_few"


def _area(pair: Comparison) -> Cells | str:
    areas = list(pair.local.areas.values())
    return pair.sites.of_area(averaged(areas)) if areas else "single_class"


def _scored(name: str, pair: Comparison, probabilities: np.ndarray) -> Cells:
    """Accuracy or log loss of N x C probabilities over the labelled rows."""
    side, known = pair.local, pair.local.labelled
    labels, units = side.rows.labels[known], side.rows.units[known]
    if name == "accuracy":
        return pair.sites.of_share(probabilities[known].argmax(axis=1) == labels, units)
    sums = np.zeros((len(side), 2))
    sums[known] = np.column_stack(
        [log_loss_rows(probabilities[known], labels), np.ones(len(units))]
    )
    losses, total = side.rows.totals(sums, 1 + pair.settings.resamples).T
    return pair.sites.of_draws(ratio(losses, total), len(np.unique(units)), loss=True)
