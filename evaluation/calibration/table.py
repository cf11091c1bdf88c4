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
from offsite.evaluation.predictions.roles import crossings
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.predictions.tasks import Task, tasks_of
from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.statistics.estimates import Reason
from offsite.evaluation.statistics.resampling import generator_of
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
            **self.site.place,
            "n": len(self.scores),
            "n_positive": int(self.positive.sum()),
            "n_patients": self.site.n_patients,
        }

    @property
    def answers(self) -> np.ndarray | None:
        """A number for each answer: rows of a unit with one probability repeat one answer."""
        if self.site.n_units == len(self.site):
            return None
        values, of_row = np.unique(self.scores, return_inverse=True)
        return np.unique(self.site.units * len(values) + of_row, return_inverse=True)[1]


def calibration_tables(
    sites: Sites,
    calibrators: dict[str, Calibrator] | None = None,
    only: Collection[tuple[str, str]] | None = None,
) -> dict[str, pd.DataFrame]:
    """How far probabilities come true: a row per metric, and reliability curves, a row per bin.

    Parameters
    ----------
    sites : Sites
        Rows of all splits: calibrators are fitted on validation rows of training sites, and
        measured on test rows (of a cross-validation `crossings` says which on which); tasks, bins, simulations, draws.
    calibrators : dict of str to Calibrator, optional
        Fitted earlier; unset: fitted here.
    only : collection of (str, str), optional
        The pairs of task and calibrator to give, without their curves; unset: all.

    Returns
    -------
    dict of str to pandas.DataFrame
        ``calibration`` and ``reliability``: a row per task, calibrator, site and metric or bin.
    """
    metrics, curves = [], []
    for case in _cases(sites, calibrators, only):
        if len(case.scores) < sites.settings.minimum_rows:
            reason = {"reason": case.site.why_not(sites.settings.minimum_rows).value}
            metrics += [case.base | {"metric": name} | reason for name in METRICS]
            curves.append(case.base | reason)
            continue
        bins, shares = _binned(case, sites.settings)
        metrics += _metric_rows(case, bins, shares, sites)
        curves += _bin_rows(case, bins, shares, sites) if only is None else []
    tables = {"calibration": metrics, "reliability": curves}
    return {name: SCHEMAS[name].frame(rows) for name, rows in tables.items()}


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
    tasks: list[Task | None] = [*tasks_of(predictions.classes, sites.settings), None]
    if calibrators is None:
        under = _by_own_rows(sites)
    else:
        under = {name: calibrated(predictions, one) for name, one in calibrators.items()}
    for calibrator, made in {NONE: predictions, **under}.items():
        changed = sites.with_probabilities(made)
        for task in tasks:
            name = TOP if task is None else task.name
            if only is not None and (name, calibrator) not in only:
                continue
            for site in changed.shown:
                scores, positive = _of_task(site, task)
                yield _Calibrated(
                    task=name, calibrator=calibrator, site=site, scores=scores, positive=positive
                )


def _by_own_rows(sites: Sites) -> dict[str, Predictions]:
    """The predictions under each calibrator that the rows of the table can fit.

    The rows of a fold of a cross-validation are calibrated by the other folds, all others by what
    ships, which is fitted on all folds.
    """
    predictions = sites.predictions
    parts = crossings(predictions.table, sites.roles)
    if not parts:
        fitted = fit_calibrators(predictions)
        return {name: calibrated(predictions, one) for name, one in fitted.items()}
    by_part = [fit_calibrators(predictions, rows=fitted_on) for _, fitted_on in parts]
    under = {}
    for name in by_part[-1]:
        if not all(name in fitted for fitted in by_part):
            continue  # the rows of a fold would have to be calibrated by themselves
        probabilities = predictions.probabilities.copy()
        for (judged, _), fitted in zip(parts, by_part, strict=True):
            own = calibrated(predictions.select(judged), fitted[name])
            probabilities[judged] = own.probabilities
        under[name] = replace(predictions, probabilities=probabilities)
    return under


def _of_task(site: Site, task: Task | None) -> tuple[np.ndarray, np.ndarray]:
    if task is None:
        return site.probabilities.max(axis=1), site.probabilities.argmax(axis=1) == site.labels
    return task.scores(site.probabilities), task.positive(site.labels)


def _metric_rows(
    case: _Calibrated, bins: Bins, shares: np.ndarray, sites: Sites
) -> Iterator[dict[str, Any]]:
    confidence, units = sites.settings.confidence, case.site.units
    for name, function in (("ece", expected_error), ("ece_debiased", debiased_error)):
        value, null = float(function(bins, bins.observed)), function(bins, shares)
        high = float(np.quantile(null, confidence))
        told = {
            "null_mean": float(null.mean()),
            "null_high": high,
            "excess": max(0.0, value - high),
        }
        yield case.base | {"metric": name, "value": value, "reason": Reason.OK.value} | told
    one_sided = case.positive.all() or not case.positive.any()
    missing = (Reason.SINGLE_CLASS if one_sided else Reason.TOO_FEW).value
    fits = slope_and_intercept(case.scores, case.positive, units, confidence)
    for name, fit in fits.items():
        numbers: dict[str, Any] = {"reason": missing}
        if fit is not None:
            numbers = dict(zip(("value", "low", "high", "p_value"), fit, strict=True))
            numbers["reason"] = Reason.OK.value
        yield case.base | {"metric": name} | numbers
    z = spiegelhalter_z(case.scores, case.positive, units)
    reason = Reason.OK if z is not None else Reason.SINGLE_CLASS
    yield case.base | {"metric": "spiegelhalter_z", "value": z, "reason": reason.value}
    yield from _score_rows(case, sites)


def _score_rows(case: _Calibrated, sites: Sites) -> Iterator[dict[str, Any]]:
    site, labels = case.site.as_one(), case.positive.astype(np.int64)
    pairs = np.column_stack([1 - case.scores, case.scores])
    rows = [brier_rows(pairs, labels), log_loss_rows(pairs, labels), np.ones(len(site))]
    *sums, total = site.totals(np.stack(rows, axis=1)).T
    rarer = min(site.patients_among(side) for side in (case.positive, ~case.positive))
    for name, losses in zip(("brier", "log_loss"), sums, strict=True):
        told = sites.of_draws(ratio(losses, total), site.n_units, loss=True, rarer=rarer)
        yield case.base | {"metric": name} | told


def _bin_rows(
    case: _Calibrated, bins: Bins, shares: np.ndarray, sites: Sites
) -> Iterator[dict[str, Any]]:
    tail = (1 - sites.settings.confidence) / 2
    band = np.quantile(shares, [tail, 1 - tail], axis=0)
    for number, size in enumerate(bins.sizes):
        rows = bins.of_row == number
        units = case.site.units[rows]
        low, high = sites.share_interval(case.positive[rows], units)
        yield case.base | {
            "bin": number,
            "probability": float(bins.probability[number]),
            "observed": float(bins.observed[number]),
            "low": low,
            "high": high,
            "band_low": float(band[0, number]),
            "band_high": float(band[1, number]),
            "n": int(size),
            "n_positive": int(case.positive[rows].sum()),
            "n_patients": case.site.patients_of(units),
            "reason": Reason.OK.value,
        }


def _binned(case: _Calibrated, settings: EvaluationSettings) -> tuple[Bins, np.ndarray]:
    bins = equal_mass_bins(case.scores, case.positive, settings.calibration_bins)
    # Draws depend on the seed, the task and the site alone.
    generator = generator_of(settings.seed, "band", case.task, case.site.role, case.site.name)
    simulations = settings.calibration_simulations
    return bins, simulated_shares(bins, case.scores, simulations, generator, case.answers)
