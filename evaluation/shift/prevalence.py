"""Prevalence shift of a site: its class prior by EM and BBSE, without labels, and with them."""

from dataclasses import replace

import numpy as np

from evaluation.intervals import percentile_interval
from evaluation.ood.metrics import patient_weights
from evaluation.shift.label_shift import (
    bbse_prior,
    em_prior,
    histogram_statistics,
    total_variation,
)
from evaluation.shift.record import ShiftRow, blank, undefined
from evaluation.shift.settings import ShiftSettings
from evaluation.shift.sides import Comparison
from evaluation.shift.two_sample import TwoSample, patient_assignments

KIND = "prevalence"
_DRAWS = 200


def site_prior(pair: Comparison) -> np.ndarray:
    """The site's class prior by EM, C."""
    return em_prior(pair.own.calibrated, model_prior(pair))


def model_prior(pair: Comparison) -> np.ndarray:
    """The prior that the calibrated probabilities stand for; the reference's where none is known."""
    return reference_prior(pair) if pair.model_prior is None else pair.model_prior


def reference_prior(pair: Comparison) -> np.ndarray:
    """Class frequencies of the reference's labelled rows, C."""
    labels = pair.reference.rows.labels[pair.reference.labelled]
    return np.bincount(labels, minlength=len(pair.own.rows.classes)) / max(len(labels), 1)


def prior_row(pair: Comparison, settings: ShiftSettings) -> ShiftRow:
    """The headline: distance of the site's class prior (by EM) from the reference's."""
    row = replace(blank(pair, KIND, "prior_distance"), transductive=True)
    reason = why_not(pair, settings)
    if reason != "ok":
        return undefined(row, reason)
    prior = reference_prior(pair)
    estimate = site_prior(pair)
    draws = _distances(_drawn_priors(pair, settings), prior)
    interval = percentile_interval(draws, row.n_patients)
    test = _histogram_test(pair, settings)
    return replace(
        row,
        value=total_variation(estimate, prior),
        low=None if interval is None else interval[0],
        high=None if interval is None else interval[1],
        null_high=_null_high(pair, prior, settings),
        p_value=None if test is None else test.p_value,
    )


def detail_rows(pair: Comparison, settings: ShiftSettings) -> list[ShiftRow]:
    """The prior of each class by EM, and the distances by BBSE and by the labels themselves."""
    classes = pair.own.rows.classes
    rows = [replace(blank(pair, KIND, f"prior/{name}"), transductive=True) for name in classes]
    bbse = replace(blank(pair, KIND, "prior_distance_bbse"), transductive=True)
    reason = why_not(pair, settings)
    if reason != "ok":
        return [undefined(row, reason) for row in [*rows, bbse]] + [_true_row(pair)]
    prior = reference_prior(pair)
    estimate = site_prior(pair)
    draws = _drawn_priors(pair, settings)
    filled = []
    for index, row in enumerate(rows):
        interval = percentile_interval(draws[:, index], row.n_patients) or (None, None)
        filled.append(replace(row, value=float(estimate[index]), low=interval[0], high=interval[1]))
    known = pair.reference.labelled
    solved = bbse_prior(
        pair.reference.rows.probabilities[known].argmax(axis=1),
        pair.reference.rows.labels[known],
        pair.own.rows.probabilities.argmax(axis=1),
        len(classes),
    )
    if solved is None:
        bbse = undefined(bbse, "too_few")
    else:
        bbse = replace(bbse, value=total_variation(solved, prior))
    return [*filled, bbse, _true_row(pair)]


def why_not(pair: Comparison, settings: ShiftSettings) -> str:
    """Why the prior cannot be estimated, or ``ok``."""
    if min(len(pair.own), len(pair.reference)) == 0:
        return "no_samples"
    known = int(pair.reference.labelled.sum())
    if known == 0:
        return "no_labels"
    return "ok" if min(known, len(pair.own)) >= settings.minimum_rows else "too_few"


def _true_row(pair: Comparison) -> ShiftRow:
    row = blank(pair, KIND, "prior_distance_true")
    labels = pair.own.rows.labels[pair.own.labelled]
    if len(labels) == 0 or not pair.reference.labelled.any():
        return undefined(row, "no_labels")
    own = np.bincount(labels, minlength=len(pair.own.rows.classes)) / len(labels)
    return replace(row, n=len(labels), value=total_variation(own, reference_prior(pair)))


def _drawn_priors(pair: Comparison, settings: ShiftSettings) -> np.ndarray:
    generator = np.random.default_rng(np.random.SeedSequence([settings.seed, 4]))
    weights = patient_weights(pair.own.patients, _DRAWS, generator)
    return em_prior(pair.own.calibrated, model_prior(pair), weights)


def _null_high(pair: Comparison, prior: np.ndarray, settings: ShiftSettings) -> float:
    """95 % quantile of the distance of reference samples of the site's size, whole patients."""
    generator = np.random.default_rng(np.random.SeedSequence([settings.seed, 5]))
    weights = patient_weights(pair.reference.patients, _DRAWS, generator)
    # As many patients as the site has: thin the draws, patient by patient.
    share = min(1.0, len(pair.own) / len(pair.reference))
    codes = np.unique(pair.reference.patients, return_inverse=True)[1]
    kept = generator.random((_DRAWS, int(codes.max()) + 1)) < share
    thinned = weights * kept[:, codes]
    thinned = thinned[thinned.sum(axis=1) > 0]
    priors = em_prior(pair.reference.calibrated, model_prior(pair), thinned)
    return float(np.quantile(_distances(priors, prior), 0.95))


def _distances(priors: np.ndarray, prior: np.ndarray) -> np.ndarray:
    return np.abs(priors - prior).sum(axis=1) / 2


def _histogram_test(pair: Comparison, settings: ShiftSettings) -> TwoSample | None:
    generator = np.random.default_rng(np.random.SeedSequence([settings.seed, 6]))
    sides = (pair.own, pair.reference)
    predicted = np.concatenate([side.rows.probabilities.argmax(axis=1) for side in sides])
    patients = np.concatenate([side.patients for side in sides])
    first = np.arange(len(predicted)) < len(pair.own)
    assignments = patient_assignments(first, patients, settings.permutations, generator)
    classes = len(pair.own.rows.classes)
    return TwoSample.of(histogram_statistics(predicted, classes, assignments))
