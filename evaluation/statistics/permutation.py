"""Permutation of two models: each patient's predictions change hands, or do not."""

from dataclasses import replace

import numpy as np

from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.statistics.resampling import COUNT, generator_of
from offsite.evaluation.statistics.samples import joined
from offsite.evaluation.statistics.sites import Site


def swap_counts(units: int, resamples: int, generator: np.random.Generator) -> np.ndarray:
    """Which of two models' rows each unit gives: uint8, (1 + resamples) x 2 units.

    The first half of the columns are the units under the first model, the second half under the
    second; each unit is taken from one of them. In the first row all are from the first model.
    """
    swaps = generator.integers(0, 2, size=(1 + resamples, units), dtype=COUNT)
    swaps[0] = 1
    return np.hstack([swaps, 1 - swaps])


def swapped(first: Site, second: Site, settings: EvaluationSettings) -> tuple[Site, Site]:
    """Two models' rows of one site, exchanged by patient at random in each draw.

    Both sites hold the rows of both models; the counts say which of them stand for the first
    model and which for the second. If the models are equally good, any exchange is as likely as
    the one observed, so the differences of the draws are the null law of the observed one; the
    kernels of the metrics serve here as they serve the bootstrap.
    """
    units = first.sample.n_units
    generator = generator_of(settings.seed, "swap", first.name)
    counts = swap_counts(units, settings.resamples, generator)
    both = joined([first.sample, second.sample])
    one = replace(first, sample=both, draws=(counts,))
    return one, replace(one, draws=(np.hstack([counts[:, units:], counts[:, :units]]),))
