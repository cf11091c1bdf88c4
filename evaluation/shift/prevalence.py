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
from offsite.evaluation.shift.sides import DRAWS, Cells, Comparison, Side
from offsite.evaluation.shift.two_sample import TwoSample
from offsite.evaluation.statistics.intervals import percentile_interval

KIND = "prevalence"
UNIDENTIFIED = "prior_unidentified"


@dataclass(frozen=True, eq=False)
class Priors:
    """The class prior of a site without its labels; each part is made once, when asked for."""

    pair: Comparison

    @cached_property
    def model(self) -> np.ndarray:
        """The prior that calibrated probabilities stand for; the reference's where none is known."""
        known = self.pair.local.material.prior
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
            generator=np.random.default_rng([self.pair.settings.seed, 9]),
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


def prior_row(pair: Comparison, priors: Priors) -> Cells:
    """The headline: distance of the site's class prior from the reference's.

    From the labels where the site has enough of them, else by EM (transductive), if label shift
    explains what the model says there.
    """
    if not _counted(pair):
        return _estimated_row(pair, priors)
    found = priors.missing if priors.missing != "ok" else _counted_distance(pair)
    return pair.row(KIND, "prior_distance", found, labelled=True)


def detail_rows(pair: Comparison, priors: Priors) -> list[Cells]:
    """What can be said without labels: EM and BBSE, each class's prior, and the assumption."""
    names = [f"prior/{name}" for name in pair.sites.predictions.classes]
    names += ["prior_distance_bbse", "label_shift_misfit"]
    found: list[Cells | TwoSample | str | None] = [priors.problem] * (len(names) - 1)
    if priors.problem == "ok":
        units = pair.local.rows.n_units
        found = [
            {"value": share, **_bounds(pair, draws, units)}
            for share, draws in zip(priors.estimate, priors.drawn.T, strict=True)
        ]
        found.append(_bbse_distance(pair))
    found.append(priors.missing if priors.missing != "ok" else priors.misfit)
    # Where no labels are counted the estimated distance is the headline.
    estimated = [_estimated_row(pair, priors)] if _counted(pair) else []
    return estimated + [
        pair.row(KIND, *both, transductive=True) for both in zip(names, found, strict=True)
    ]


def _counted(pair: Comparison) -> bool:
    return bool(pair.local.labelled.sum() >= pair.settings.minimum_rows)


def _bounds(pair: Comparison, draws: np.ndarray, units: int) -> dict[str, float | None]:
    asked = pair.sites.settings
    found = percentile_interval(draws, units, asked.confidence, asked.minimum_defined)
    return dict(zip(("low", "high"), found or (None, None), strict=True))


def _counted_distance(pair: Comparison) -> Cells:
    local, known = pair.local, pair.local.labelled
    prior = pair.reference.frequencies
    classes = np.zeros((len(local), len(prior)))
    classes[known] = np.eye(len(prior))[local.rows.labels[known]]
    totals = local.rows.totals(classes, 1 + pair.settings.resamples)
    draws = total_variation(ratio(totals[1:], totals[1:].sum(axis=1, keepdims=True)), prior)
    p_value, distances = _histogram_test(pair, [side.rows.labels for side in pair.sides])
    return {
        "value": total_variation(local.frequencies, prior),
        **_bounds(pair, draws, len(np.unique(local.rows.units[known]))),
        "null_high": float(np.quantile(distances, 0.95)),
        "p_value": p_value,
    }


def _estimated_row(pair: Comparison, priors: Priors) -> Cells:
    found: Cells | str = priors.problem
    if priors.problem == "ok":
        prior, units = pair.reference.frequencies, pair.local.rows.n_units
        predicted = [side.rows.probabilities.argmax(axis=1) for side in pair.sides]
        found = {
            "value": total_variation(priors.estimate, prior),
            **_bounds(pair, total_variation(priors.drawn, prior), units),
            "null_high": pair.reference.prior_null(priors.model, units),
            "p_value": _histogram_test(pair, predicted)[0],
        }
    return pair.row(KIND, "prior_distance_em", found, transductive=True)


def _bbse_distance(pair: Comparison) -> Cells | None:
    known = pair.reference.labelled
    solved = bbse_prior(
        pair.reference.rows.probabilities[known].argmax(axis=1),
        pair.reference.rows.labels[known],
        pair.local.rows.probabilities.argmax(axis=1),
        pair.local.rows.classes,
    )
    if solved is None:
        return None
    return {"value": total_variation(solved, pair.reference.frequencies)}


def _histogram_test(pair: Comparison, values: list[np.ndarray]) -> tuple[float | None, np.ndarray]:
    """P-value of class by side with patients permuted; distances of the permutations."""
    classes = pair.local.rows.classes
    tables = [_by_unit(side, of, classes) for side, of in zip(pair.sides, values, strict=True)]
    everyone = tables[0].sum(axis=0) + tables[1].sum(axis=0)
    generator = np.random.default_rng([pair.settings.seed, 6])
    first = permuted_histograms(tables[0], tables[1], pair.permutations, generator)
    test = TwoSample.of(histogram_statistics(first, everyone))
    shares = [side / side.sum(axis=1, keepdims=True) for side in (first[1:], everyone - first[1:])]
    return None if test is None else test.p_value, total_variation(*shares)


def _by_unit(side: Side, values: np.ndarray, classes: int) -> np.ndarray:
    """Rows of each class by unit, U x C, of the units that have any; -1 is no class."""
    known = values >= 0
    table = np.zeros((side.rows.n_units, classes), dtype=np.int64)
    np.add.at(table, (side.rows.units[known], values[known]), 1)
    return table[table.any(axis=1)]
