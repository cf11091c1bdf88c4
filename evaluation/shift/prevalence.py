"""Prevalence shift of a site: counted from its labels, or estimated from outputs without them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from offsite.evaluation.metrics.confusion import ratio
from offsite.evaluation.shift.label_shift import (
    bbse_prior,
    em_prior,
    histogram_statistics,
    permuted_histograms,
    total_variation,
)
from offsite.evaluation.shift.record import ShiftRow, blank, tested, undefined
from offsite.evaluation.shift.sides import DRAWS, Comparison, Side, prior_distances
from offsite.evaluation.shift.two_sample import TwoSample

KIND = "prevalence"
UNIDENTIFIED = "prior_unidentified"


@dataclass(frozen=True, eq=False)
class Priors:
    """The class prior of a site without its labels; each part is made once, when asked for."""

    pair: Comparison

    @cached_property
    def model(self) -> np.ndarray:
        """The prior that calibrated probabilities stand for; the reference's where none is known."""
        known = self.pair.material.prior
        return self.pair.reference.frequencies if known is None else known

    @cached_property
    def missing(self) -> str:
        """Why the sides cannot be compared, or ``ok``."""
        local, reference = self.pair.local, self.pair.reference
        if min(len(local), len(reference)) == 0:
            return "no_samples"
        known = int(reference.labelled.sum())
        if known == 0:
            return "no_labels"
        enough = min(known, len(local)) >= self.pair.settings.minimum_rows
        return "ok" if enough else "too_few"

    @cached_property
    def problem(self) -> str:
        """Why the prior cannot be estimated without labels, or ``ok``."""
        if self.missing != "ok":
            return self.missing
        level = self.pair.settings.misfit_level
        return UNIDENTIFIED if self.misfit is None or self.misfit.p_value < level else "ok"

    @cached_property
    def misfit(self) -> TwoSample | None:
        """Whether some mixture of the reference's classes explains the outputs here."""
        local = self.pair.local
        return self.pair.reference.outputs.label_shift_test(
            local.calibrated,
            cases=local.rows.n_units,
            generator=_generator(self.pair.settings.seed, 9),
        )

    @cached_property
    def estimate(self) -> np.ndarray:
        """The prior by EM, C."""
        return em_prior(self.pair.local.calibrated, self.model)

    @cached_property
    def drawn(self) -> np.ndarray:
        """The prior by EM in each of some draws."""
        rows = self.pair.local.rows
        weights = rows.counts[1 : 1 + DRAWS][:, rows.units]
        return em_prior(self.pair.local.calibrated, self.model, weights)


def prior_row(pair: Comparison, priors: Priors) -> ShiftRow:
    """The headline: distance of the site's class prior from the reference's.

    From the labels where the site has enough of them, else by EM (transductive), if label shift
    explains what the model says there.
    """
    return _counted_row(pair, priors) if _counted(pair) else _estimated_row(pair, priors)


def detail_rows(pair: Comparison, priors: Priors) -> list[ShiftRow]:
    """What can be said without labels: EM and BBSE, each class's prior, and the assumption."""
    names = [*(f"prior/{name}" for name in pair.sites.predictions.classes), "prior_distance_bbse"]
    rows = [blank(pair, KIND, name, transductive=True) for name in names]
    estimated = [_estimated_row(pair, priors)] if _counted(pair) else []  # else it is the headline
    if priors.problem != "ok":
        rows = [undefined(row, priors.problem) for row in rows]
        return [*estimated, *rows, _misfit_row(pair, priors)]
    *shares, bbse = rows
    for index, row in enumerate(shares):
        bounds = _bounds(pair, priors.drawn[:, index], pair.local.rows.n_units)
        shares[index] = row | {"value": float(priors.estimate[index]), **bounds}
    return [*estimated, *shares, _bbse_row(bbse, pair), _misfit_row(pair, priors)]


def _generator(seed: int, number: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence([seed, number]))


def _counted(pair: Comparison) -> bool:
    return bool(pair.local.labelled.sum() >= pair.settings.minimum_rows)


def _bounds(pair: Comparison, draws: np.ndarray, units: int) -> dict[str, float | None]:
    return dict(
        zip(("low", "high"), pair.sites.interval(draws, units) or (None, None), strict=True)
    )


def _counted_row(pair: Comparison, priors: Priors) -> ShiftRow:
    row = blank(pair, KIND, "prior_distance", labelled=True)
    if priors.missing != "ok":
        return undefined(row, priors.missing)
    local, known = pair.local, pair.local.labelled
    prior = pair.reference.frequencies
    classes = np.zeros((len(local), len(prior)))
    classes[known] = np.eye(len(prior))[local.labels[known]]
    totals = local.rows.totals(classes, 1 + pair.settings.resamples)
    draws = prior_distances(ratio(totals[1:], totals[1:].sum(axis=1, keepdims=True)), prior)
    test, distances = _histogram_test(pair, [local.labels, pair.reference.labels])
    return row | {
        "value": total_variation(local.frequencies, prior),
        **_bounds(pair, draws, len(np.unique(local.rows.units[known]))),
        "null_high": float(np.quantile(distances, 0.95)),
        "p_value": None if test is None else test.p_value,
    }


def _estimated_row(pair: Comparison, priors: Priors) -> ShiftRow:
    row = blank(pair, KIND, "prior_distance_em", transductive=True)
    if priors.problem != "ok":
        return undefined(row, priors.problem)
    prior = pair.reference.frequencies
    predicted = [side.probabilities.argmax(axis=1) for side in (pair.local, pair.reference)]
    test, _ = _histogram_test(pair, predicted)
    return row | {
        "value": total_variation(priors.estimate, prior),
        **_bounds(pair, prior_distances(priors.drawn, prior), pair.local.rows.n_units),
        "null_high": pair.reference.prior_null(priors.model, pair.local.rows.n_units),
        "p_value": None if test is None else test.p_value,
    }


def _bbse_row(row: ShiftRow, pair: Comparison) -> ShiftRow:
    known = pair.reference.labelled
    solved = bbse_prior(
        pair.reference.probabilities[known].argmax(axis=1),
        pair.reference.labels[known],
        pair.local.probabilities.argmax(axis=1),
        pair.local.probabilities.shape[1],
    )
    if solved is None:
        return undefined(row, "too_few")
    return row | {"value": total_variation(solved, pair.reference.frequencies)}


def _misfit_row(pair: Comparison, priors: Priors) -> ShiftRow:
    row = blank(pair, KIND, "label_shift_misfit", transductive=True)
    if priors.missing != "ok":
        return undefined(row, priors.missing)
    return tested(row, priors.misfit)


def _histogram_test(
    pair: Comparison, values: list[np.ndarray]
) -> tuple[TwoSample | None, np.ndarray]:
    """Chi-square test of class by side with patients permuted; distances of the permutations."""
    classes = pair.local.probabilities.shape[1]
    tables = [
        _by_unit(side, of, classes)
        for side, of in zip((pair.local, pair.reference), values, strict=True)
    ]
    everyone = tables[0].sum(axis=0) + tables[1].sum(axis=0)
    generator = _generator(pair.settings.seed, 6)
    first = permuted_histograms(tables[0], tables[1], pair.permutations, generator)
    test = TwoSample.of(histogram_statistics(first, everyone))
    shares = [side / side.sum(axis=1, keepdims=True) for side in (first[1:], everyone - first[1:])]
    return test, np.abs(shares[0] - shares[1]).sum(axis=1) / 2


def _by_unit(side: Side, values: np.ndarray, classes: int) -> np.ndarray:
    """Rows of each class by unit, U x C, of the units that have any; -1 is no class."""
    known = values >= 0
    table = np.zeros((side.rows.n_units, classes), dtype=np.int64)
    np.add.at(table, (side.rows.units[known], values[known]), 1)
    return table[table.any(axis=1)]
