"""Intervals of a mean over runs: of the patients that judge, and of the runs' seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from offsite.evaluation.metrics.ranking import Ranking, auroc_and_precision

DRAWS = 300


@dataclass(frozen=True, eq=False)
class Judged:
    """One run's answers at a site.

    Attributes
    ----------
    seed : str
        Of the run.
    scores : numpy.ndarray
        N, higher where referable is likelier.
    called, truth : numpy.ndarray
        N grades.
    patients : numpy.ndarray
        N names.
    judges : numpy.ndarray
        N booleans: rows that judge (not those that a head was refitted with).
    """

    seed: str
    scores: np.ndarray
    called: np.ndarray
    truth: np.ndarray
    patients: np.ndarray
    judges: np.ndarray


def mean_interval(
    runs: Sequence[Judged], referable: int, classes: int
) -> dict[str, tuple[float, float, float]]:
    """Return mean, low and high (95 %) of referable AUROC and quadratic kappa over runs.

    The variance is that of the mean over runs when patients are drawn with replacement, the same in
    all runs, plus the seeds' own over their number, stretched by Student's t for so few of them.
    """
    values = drawn_values(runs, referable, classes)
    seeds = np.array([run.seed for run in runs])
    return {name: interval_of(each, seeds) for name, each in values.items()}


def drawn_values(
    runs: Sequence[Judged], referable: int, classes: int, seed: int = 0, draws: int = DRAWS
) -> dict[str, np.ndarray]:
    """Return R x (1 + draws) referable AUROCs and kappas: of all patients, then of draws of them.

    Equal patients and ``seed`` give the same draws, so that methods can be compared draw by draw.
    """
    names = np.unique(np.concatenate([run.patients for run in runs]))
    draw = np.random.default_rng(seed)
    times = draw.multinomial(len(names), np.full(len(names), 1 / len(names)), draws)
    times = np.concatenate([np.ones((1, len(names)), int), times])
    found: dict[str, list[np.ndarray]] = {"auroc": [], "kappa": []}
    for run in runs:
        weights = (times[:, np.searchsorted(names, run.patients)] * run.judges).astype(np.float32)
        ranking = Ranking.of(run.scores, run.truth >= referable, np.arange(len(run.scores)))
        found["auroc"].append(auroc_and_precision(ranking, weights.astype(np.uint8))[0])
        found["kappa"].append(weighted_kappas(run.truth, run.called, weights, classes))
    return {name: np.stack(values) for name, values in found.items()}


def interval_of(values: np.ndarray, seeds: np.ndarray) -> tuple[float, float, float]:
    """Return mean, low and high of R x (1 + draws), the first column those of all patients."""
    by_seed = np.stack([values[seeds == seed].mean(axis=0) for seed in np.unique(seeds)])
    mean, n = float(by_seed[:, 0].mean()), len(by_seed)
    variance = float(np.nanvar(by_seed[:, 1:].mean(axis=0)))
    if n > 1:
        variance += float(by_seed[:, 0].var(ddof=1)) / n * (t.ppf(0.975, n - 1) / 1.96) ** 2
    return mean, mean - 1.96 * variance**0.5, mean + 1.96 * variance**0.5


def weighted_kappas(
    truth: np.ndarray, called: np.ndarray, weights: np.ndarray, classes: int
) -> np.ndarray:
    """Return the quadratic weighted kappa (Cohen 1968) for each row of weights (B x N)."""
    cells = np.zeros((len(truth), classes**2), np.float32)
    cells[np.arange(len(truth)), truth * classes + called] = 1
    tables = (weights @ cells).reshape(-1, classes, classes).astype(np.float64)
    grades = np.arange(classes)
    apart = (grades[:, None] - grades) ** 2
    total = tables.sum(axis=(1, 2))
    expected = (
        tables.sum(axis=2)[:, :, None] * tables.sum(axis=1)[:, None, :] / total[:, None, None]
    )
    return np.asarray(1 - (apart * tables).sum(axis=(1, 2)) / (apart * expected).sum(axis=(1, 2)))
