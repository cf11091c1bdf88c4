"""How far each site's probabilities can be taken at their word, before and after calibration."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from offsite.evaluation.calibration.calibrators import Calibrator, fit_calibrators, logits_of
from offsite.evaluation.metrics.calibration_error import (
    Bins,
    debiased_error,
    equal_mass_bins,
    expected_error,
    simulated_shares,
)
from offsite.evaluation.metrics.confusion import ratio
from offsite.evaluation.metrics.recalibration import slope_and_intercept, spiegelhalter_z
from offsite.evaluation.metrics.scoring import brier_rows, log_loss_rows
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.predictions.tasks import Task, tasks_of
from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.statistics.estimates import Reason
from offsite.evaluation.statistics.resampling import generator_of, weighted_sums
from offsite.evaluation.statistics.sites import Site, Sites
from offsite.evaluation.tables.schemas import SCHEMAS

METRICS = ("ece", "ece_debiased", "slope", "intercept", "spiegelhalter_z", "brier", "log_loss")
TOP = "_top"
NONE = "none"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Calibrated:
    """One task at one site under one calibrator: probabilities against truths."""

    task: str
    calibrator: str
    site: Site
    scores: np.ndarray
    positive: np.ndarray

    @property
    def base(self) -> dict[str, Any]:
        return {
            "task": self.task,
            "calibrator": self.calibrator,
            "site": self.site.name,
            "site_role": self.site.role,
            "n": len(self.scores),
            "n_positive": int(self.positive.sum()),
            "n_patients": self.site.sample.n_patients,
        }

    @property
    def answers(self) -> np.ndarray | None:
        """A number for each answer: rows of a unit with one probability repeat one answer."""
        sample = self.site.sample
        if sample.n_units == sample.n:
            return None
        values, of_row = np.unique(self.scores, return_inverse=True)
        return np.unique(sample.units * len(values) + of_row, return_inverse=True)[1]

    def generator(self, seed: int) -> np.random.Generator:
        """Draws for the simulations, which depend on the seed, the task and the site alone."""
        return generator_of(seed, "band", self.task, self.site.role, self.site.name)


def calibration_tables(
    sites: Sites, calibrators: dict[str, Calibrator] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """How far probabilities come true: a row per metric, and reliability curves, a row per bin.

    Parameters
    ----------
    sites : Sites
        Rows of all splits: calibrators are fitted on validation rows of training sites, and
        measured on test rows; tasks, bins, simulations, draws.
    calibrators : dict of str to Calibrator, optional
        Fitted earlier; unset: fitted here.

    Returns
    -------
    tuple of pandas.DataFrame
        ``calibration`` and ``reliability``: a row per task, calibrator, site and metric or bin.
    """
    return _tables(sites, calibrators, None, curved=True)


def calibration_table(
    sites: Sites, calibrators: dict[str, Calibrator], only: Collection[tuple[str, str]]
) -> pd.DataFrame:
    """The first of :func:`calibration_tables`, for some pairs of task and calibrator alone."""
    return _tables(sites, calibrators, only, curved=False)[0]


def _tables(
    sites: Sites,
    calibrators: dict[str, Calibrator] | None,
    only: Collection[tuple[str, str]] | None,
    *,
    curved: bool,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    metrics, curves = [], []
    for case in _cases(sites, calibrators, only):
        if len(case.scores) < sites.settings.minimum_rows:
            reason = {"reason": case.site.why_not(sites.settings.minimum_rows).value}
            metrics += [case.base | {"metric": name} | reason for name in METRICS]
            curves.append(case.base | reason)
            continue
        bins, shares = _binned(case, sites.settings)
        metrics += _metric_rows(case, bins, shares, sites)
        curves += _bin_rows(case, bins, shares, sites) if curved else []
    return SCHEMAS["calibration"].frame(metrics), SCHEMAS["reliability"].frame(curves)


def calibrated(predictions: Predictions, calibrator: Calibrator | None) -> Predictions:
    """The predictions with calibrated probabilities; ``None`` leaves them as they are."""
    if calibrator is None:
        return predictions
    sites = predictions.table["site"].to_numpy(dtype=str)
    return replace(predictions, probabilities=calibrator.apply(logits_of(predictions), sites))


def _cases(
    sites: Sites,
    calibrators: dict[str, Calibrator] | None,
    only: Collection[tuple[str, str]] | None,
) -> Iterator[_Calibrated]:
    predictions = sites.predictions
    fitted = fit_calibrators(predictions) if calibrators is None else calibrators
    tasks = tasks_of(predictions.classes, sites.settings)
    for name, calibrator in {NONE: None, **fitted}.items():
        changed = sites.with_probabilities(calibrated(predictions, calibrator))
        for task in [*tasks, None]:
            if only is not None and (TOP if task is None else task.name, name) not in only:
                continue
            for site in [*changed.single, *changed.pools]:
                scores, positive = _of_task(site, task)
                yield _Calibrated(
                    task=TOP if task is None else task.name,
                    calibrator=name,
                    site=site,
                    scores=scores,
                    positive=positive,
                )


def _of_task(site: Site, task: Task | None) -> tuple[np.ndarray, np.ndarray]:
    probabilities, labels = site.sample.probabilities, site.sample.labels
    if task is None:
        return probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    return task.scores(probabilities), task.positive(labels)


def _metric_rows(
    calibrated: _Calibrated, bins: Bins, shares: np.ndarray, sites: Sites
) -> Iterator[dict[str, Any]]:
    settings = sites.settings
    yield from _error_rows(calibrated, bins, shares, settings.confidence)
    units = calibrated.site.sample.units
    fits = slope_and_intercept(calibrated.scores, calibrated.positive, units, settings.confidence)
    one_sided = calibrated.positive.all() or not calibrated.positive.any()
    missing = (Reason.SINGLE_CLASS if one_sided else Reason.TOO_FEW).value
    for name, fit in fits.items():
        numbers: dict[str, Any] = {"reason": missing}
        if fit is not None:
            names = ("value", "low", "high", "p_value")
            numbers = dict(zip(names, fit, strict=True)) | {"reason": "ok"}
        yield calibrated.base | {"metric": name} | numbers
    z = spiegelhalter_z(calibrated.scores, calibrated.positive, units)
    reason = Reason.OK if z is not None else Reason.SINGLE_CLASS
    yield calibrated.base | {"metric": "spiegelhalter_z", "value": z, "reason": reason.value}
    yield from _score_rows(calibrated, sites)


def _error_rows(
    calibrated: _Calibrated, bins: Bins, shares: np.ndarray, confidence: float
) -> Iterator[dict[str, Any]]:
    for name, function in (("ece", expected_error), ("ece_debiased", debiased_error)):
        value, null = float(function(bins, bins.observed)), function(bins, shares)
        high = float(np.quantile(null, confidence))
        yield calibrated.base | {
            "metric": name,
            "value": value,
            "null_mean": float(null.mean()),
            "null_high": high,
            "excess": max(0.0, value - high),
            "reason": Reason.OK.value,
        }


def _score_rows(calibrated: _Calibrated, sites: Sites) -> Iterator[dict[str, Any]]:
    sample, labels = calibrated.site.sample, calibrated.positive.astype(np.int64)
    pairs = np.column_stack([1 - calibrated.scores, calibrated.scores])
    rows = [brier_rows(pairs, labels), log_loss_rows(pairs, labels), np.ones(sample.n)]
    sums = weighted_sums(calibrated.site.counts, sample.unit_sums(np.stack(rows, axis=1)))
    sides = (calibrated.positive, ~calibrated.positive)
    rarer = min(sample.patients_among(side) for side in sides)
    for column, name in enumerate(("brier", "log_loss")):
        values = ratio(sums[:, column], sums[:, 2])
        told = sites.of_draws(values, sample.n_units, loss=True, rarer=rarer)
        yield calibrated.base | {"metric": name} | told


def _bin_rows(
    calibrated: _Calibrated, bins: Bins, shares: np.ndarray, sites: Sites
) -> Iterator[dict[str, Any]]:
    settings = sites.settings
    tail = (1 - settings.confidence) / 2
    band = np.quantile(shares, [tail, 1 - tail], axis=0)
    for number, size in enumerate(bins.sizes):
        rows = bins.of_row == number
        units = calibrated.site.sample.units[rows]
        low, high = sites.share_interval(calibrated.positive[rows], units)
        yield calibrated.base | {
            "bin": number,
            "probability": float(bins.probability[number]),
            "observed": float(bins.observed[number]),
            "low": low,
            "high": high,
            "band_low": float(band[0, number]),
            "band_high": float(band[1, number]),
            "n": int(size),
            "n_positive": int(calibrated.positive[rows].sum()),
            "n_patients": calibrated.site.sample.patients_of(units),
            "reason": Reason.OK.value,
        }


def _binned(calibrated: _Calibrated, settings: EvaluationSettings) -> tuple[Bins, np.ndarray]:
    bins = equal_mass_bins(calibrated.scores, calibrated.positive, settings.calibration_bins)
    simulations = settings.calibration_simulations
    generator = calibrated.generator(settings.seed)
    return bins, simulated_shares(
        bins, calibrated.scores, simulations, generator, calibrated.answers
    )
