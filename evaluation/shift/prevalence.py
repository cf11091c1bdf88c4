"""Prevalence shift of a site: counted from its labels, or estimated from outputs without them."""

from dataclasses import replace

import numpy as np

from offsite.evaluation.shift.label_shift import (
    bbse_prior,
    em_prior,
    histogram_statistics,
    total_variation,
)
from offsite.evaluation.shift.label_shift_fit import label_shift_test
from offsite.evaluation.shift.record import ShiftRow, blank, undefined
from offsite.evaluation.shift.settings import ShiftSettings
from offsite.evaluation.shift.sides import Comparison, Side
from offsite.evaluation.shift.two_sample import TwoSample, patient_assignments
from offsite.evaluation.statistics.patient_weights import patient_weights

KIND = "prevalence"
UNIDENTIFIED = "prior_unidentified"
_DRAWS = 200


def prior_row(pair: Comparison, settings: ShiftSettings) -> ShiftRow:
    """The headline: distance of the site's class prior from the reference's.

    From the labels where the site has enough of them, else by EM (transductive), if label shift
    explains what the model says there.
    """
    if pair.local.labelled.sum() >= settings.minimum_rows:
        return _counted_row(pair, settings)
    return _estimated_row(pair, settings)


def detail_rows(pair: Comparison, settings: ShiftSettings) -> list[ShiftRow]:
    """What can be said without labels: EM and BBSE, each class's prior, and the assumption."""
    classes = pair.local.rows.classes
    names = [f"prior/{name}" for name in classes]
    rows = [replace(blank(pair, KIND, name), transductive=True) for name in names]
    bbse = replace(blank(pair, KIND, "prior_distance_bbse"), transductive=True)
    counted = pair.local.labelled.sum() >= settings.minimum_rows
    estimated = [_estimated_row(pair, settings)] if counted else []  # else it is the headline
    reason = prior_problem(pair, settings)
    if reason != "ok":
        rows = [undefined(row, reason) for row in [*rows, bbse]]
        return [*estimated, *rows, _misfit_row(pair, settings)]
    estimate, draws = site_prior(pair), _drawn_priors(pair, settings)
    filled = []
    for index, row in enumerate(rows):
        low, high = pair.sites.interval(draws[:, index], _units(pair.local)) or (None, None)
        filled.append(replace(row, value=float(estimate[index]), low=low, high=high))
    return [*estimated, *filled, _bbse_row(bbse, pair), _misfit_row(pair, settings)]


def site_prior(pair: Comparison) -> np.ndarray:
    """The site's class prior by EM, C."""
    return em_prior(pair.local.calibrated, model_prior(pair))


def model_prior(pair: Comparison) -> np.ndarray:
    """The prior that the calibrated probabilities stand for; the reference's where none is known."""
    return _frequencies(pair.reference) if pair.model_prior is None else pair.model_prior


def prior_problem(pair: Comparison, settings: ShiftSettings) -> str:
    """Why the prior cannot be estimated without labels, or ``ok``."""
    reason = _why_not(pair, settings)
    if reason != "ok":
        return reason
    misfit = _misfit(pair, settings)
    return UNIDENTIFIED if misfit is None or misfit.p_value < settings.misfit_level else "ok"


def _why_not(pair: Comparison, settings: ShiftSettings) -> str:
    if min(len(pair.local), len(pair.reference)) == 0:
        return "no_samples"
    known = int(pair.reference.labelled.sum())
    if known == 0:
        return "no_labels"
    return "ok" if min(known, len(pair.local)) >= settings.minimum_rows else "too_few"


def _units(side: Side) -> int:
    return len(np.unique(side.units))


def _frequencies(side: Side) -> np.ndarray:
    """Class frequencies of the labelled rows, C."""
    labels = side.rows.labels[side.labelled]
    return np.bincount(labels, minlength=len(side.rows.classes)) / max(len(labels), 1)


def _counted_row(pair: Comparison, settings: ShiftSettings) -> ShiftRow:
    known = pair.local.labelled
    row = replace(
        blank(pair, KIND, "prior_distance"),
        n=int(known.sum()),
        n_patients=len(np.unique(pair.local.patients[known])),
        n_reference=int(pair.reference.labelled.sum()),
    )
    reason = _why_not(pair, settings)
    if reason != "ok":
        return undefined(row, reason)
    prior = _frequencies(pair.reference)
    generator = np.random.default_rng(np.random.SeedSequence([settings.seed, 4]))
    local = np.eye(len(prior))[pair.local.rows.labels[known]]
    weights = patient_weights(pair.local.units[known], settings.resamples, generator)
    drawn = weights @ local / weights.sum(axis=1, keepdims=True)
    interval = pair.sites.interval(
        _distances(drawn, prior), len(np.unique(pair.local.units[known]))
    ) or (None, None)
    labels = [side.rows.labels[side.labelled] for side in (pair.local, pair.reference)]
    units = [side.units[side.labelled] for side in (pair.local, pair.reference)]
    test, distances = _histogram_test(labels, units, len(prior), settings)
    return replace(
        row,
        value=total_variation(local.mean(axis=0), prior),
        low=interval[0],
        high=interval[1],
        null_high=float(np.quantile(distances, 0.95)),
        p_value=None if test is None else test.p_value,
    )


def _estimated_row(pair: Comparison, settings: ShiftSettings) -> ShiftRow:
    row = replace(blank(pair, KIND, "prior_distance_em"), transductive=True)
    reason = prior_problem(pair, settings)
    if reason != "ok":
        return undefined(row, reason)
    prior = _frequencies(pair.reference)
    interval = pair.sites.interval(
        _distances(_drawn_priors(pair, settings), prior), _units(pair.local)
    ) or (None, None)
    sides = (pair.local, pair.reference)
    predicted = [side.rows.probabilities.argmax(axis=1) for side in sides]
    test, _ = _histogram_test(predicted, [side.units for side in sides], len(prior), settings)
    return replace(
        row,
        value=total_variation(site_prior(pair), prior),
        low=interval[0],
        high=interval[1],
        null_high=_null_high(pair, prior, settings),
        p_value=None if test is None else test.p_value,
    )


def _bbse_row(row: ShiftRow, pair: Comparison) -> ShiftRow:
    known = pair.reference.labelled
    solved = bbse_prior(
        pair.reference.rows.probabilities[known].argmax(axis=1),
        pair.reference.rows.labels[known],
        pair.local.rows.probabilities.argmax(axis=1),
        len(pair.local.rows.classes),
    )
    if solved is None:
        return undefined(row, "too_few")
    return replace(row, value=total_variation(solved, _frequencies(pair.reference)))


def _misfit_row(pair: Comparison, settings: ShiftSettings) -> ShiftRow:
    row = replace(blank(pair, KIND, "label_shift_misfit"), transductive=True)
    reason = _why_not(pair, settings)
    test = _misfit(pair, settings) if reason == "ok" else None
    if test is None:
        return undefined(row, "too_few" if reason == "ok" else reason)
    return replace(row, value=test.statistic, null_high=test.null_high, p_value=test.p_value)


def _misfit(pair: Comparison, settings: ShiftSettings) -> TwoSample | None:
    known = pair.reference.labelled
    return label_shift_test(
        (
            pair.reference.calibrated[known],
            pair.reference.rows.labels[known],
            pair.reference.units[known],
        ),
        (pair.local.calibrated, pair.local.units),
        draws=max(_DRAWS, int(np.ceil(2 / settings.misfit_level))),
        generator=np.random.default_rng(np.random.SeedSequence([settings.seed, 9])),
    )


def _drawn_priors(pair: Comparison, settings: ShiftSettings) -> np.ndarray:
    generator = np.random.default_rng(np.random.SeedSequence([settings.seed, 4]))
    weights = patient_weights(pair.local.units, _DRAWS, generator)
    return em_prior(pair.local.calibrated, model_prior(pair), weights)


def _null_high(pair: Comparison, prior: np.ndarray, settings: ShiftSettings) -> float:
    """95 % quantile of the distance of reference samples of the site's size, whole patients."""
    generator = np.random.default_rng(np.random.SeedSequence([settings.seed, 5]))
    weights = patient_weights(pair.reference.units, _DRAWS, generator)
    # As many patients as the site has: thin the draws, patient by patient.
    share = min(1.0, len(pair.local) / len(pair.reference))
    codes = np.unique(pair.reference.units, return_inverse=True)[1]
    kept = generator.random((_DRAWS, int(codes.max()) + 1)) < share
    thinned = weights * kept[:, codes]
    thinned = thinned[thinned.sum(axis=1) > 0]
    priors = em_prior(pair.reference.calibrated, model_prior(pair), thinned)
    return float(np.quantile(_distances(priors, prior), 0.95))


def _distances(priors: np.ndarray, prior: np.ndarray) -> np.ndarray:
    return np.abs(priors - prior).sum(axis=1) / 2


def _histogram_test(
    values: list[np.ndarray], patients: list[np.ndarray], classes: int, settings: ShiftSettings
) -> tuple[TwoSample | None, np.ndarray]:
    """Chi-square test of class by side with patients permuted; distances of the permutations."""
    generator = np.random.default_rng(np.random.SeedSequence([settings.seed, 6]))
    joined = np.concatenate(values)
    first = np.arange(len(joined)) < len(values[0])
    assignments = patient_assignments(
        first, np.concatenate(patients), settings.permutations, generator
    )
    test = TwoSample.of(histogram_statistics(joined, classes, assignments))
    onehot = np.eye(classes)[joined]
    members = assignments[:, 1:].astype(np.float64)
    inside = members.T @ onehot
    outside = onehot.sum(axis=0) - inside
    shares = [side / side.sum(axis=1, keepdims=True) for side in (inside, outside)]
    return test, np.abs(shares[0] - shares[1]).sum(axis=1) / 2
