"""Shift and out-of-distribution statistics beside the usual way of computing them, in one run.

    python benchmarks/evaluation_shift.py

Prints process seconds on one thread, the ratio, and the largest difference of results: the same numbers, faster.
"""

from side_by_side import line, timed  # isort: skip (before NumPy: it asks for one thread)

from functools import partial

import numpy as np
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from offsite.evaluation.metrics.ranking import Ranking, auroc_and_precision
from offsite.evaluation.ood.neighbour_detectors import Knn, unit
from offsite.evaluation.ood.settings import OodSettings
from offsite.evaluation.shift.distances import frechet_distance
from offsite.evaluation.shift.two_sample import gaussian_kernel, kernel_test
from offsite.evaluation.statistics.feature_stats import FeatureStats
from offsite.evaluation.statistics.resampling import draw_counts

ROWS, DIMENSIONS, PERMUTATIONS = 1500, 512, 1000
LOOP_PERMUTATIONS = 20  # of the loop, timed and multiplied up: all of them take minutes


def mmd() -> None:
    """Time the kernel test with its permutations."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(ROWS, DIMENSIONS)), rng.normal(size=(ROWS, DIMENSIONS)) + 0.02
    names = [np.array([f"{side}{index}" for index in range(ROWS)]) for side in "xy"]
    pooled = np.concatenate([x, y])
    bandwidth = 32.0
    kernel = partial(gaussian_kernel, bandwidth=bandwidth)

    def ours() -> float:
        return kernel_test(kernel, x, y, *names, permutations=PERMUTATIONS, generator=rng).statistic

    def loop() -> float:
        kernel = np.exp(-cdist(pooled, pooled, "sqeuclidean") / (2 * bandwidth**2))
        np.fill_diagonal(kernel, 0)
        order, values = np.arange(2 * ROWS), []
        for _ in range(LOOP_PERMUTATIONS + 1):
            one, two = order[:ROWS], order[ROWS:]
            within = kernel[np.ix_(one, one)].sum() + kernel[np.ix_(two, two)].sum()
            between = kernel[np.ix_(one, two)].mean()
            values.append(within / (ROWS * (ROWS - 1)) - 2 * between)
            order = rng.permutation(2 * ROWS)
        return values[0]

    kernel_time, _ = timed(lambda: cdist(pooled, pooled, "sqeuclidean"))
    loop_time, expected = timed(loop)
    slow = kernel_time + (loop_time - kernel_time) * (PERMUTATIONS + 1) / (LOOP_PERMUTATIONS + 1)
    ours()  # warm
    fast, found = timed(ours)
    note = f"difference {abs(found - expected):.1e}; loop from {LOOP_PERMUTATIONS} permutations"
    line(f"MMD, n = {ROWS}, {PERMUTATIONS} permutations", slow, fast, note)


def clustered_auroc() -> None:
    """Time AUROC of a detector over patients."""
    rng = np.random.default_rng(1)
    scores, positive = rng.normal(size=4000), rng.random(4000) < 0.3
    patients = np.repeat(np.arange(2000), 2)
    counts = draw_counts(2000, 1000, rng)

    def loop() -> np.ndarray:
        rows = [np.repeat(np.arange(4000), counts[draw][patients]) for draw in range(50)]
        return np.array([roc_auc_score(positive[own], scores[own]) for own in rows])

    slow, expected = timed(loop)
    fast, found = timed(
        lambda: auroc_and_precision(Ranking.of(scores, positive, patients), counts)[0]
    )
    note = f"difference {np.abs(found[:50] - expected).max():.1e}; average precision included"
    line("AUROC by patient, n = 4,000, 1,000 resamples", slow * 20, fast, note)


def frechet() -> None:
    """Time the Fréchet distance beside the matrix square root."""
    rng = np.random.default_rng(2)
    mixing = rng.normal(size=(DIMENSIONS, DIMENSIONS))
    one, two = (
        FeatureStats.of(rng.normal(size=(3000, DIMENSIONS)) @ mixing * scale, None, 1)
        for scale in (1, 1.1)
    )

    def usual() -> float:
        s1, s2 = one.total_covariance(), two.total_covariance()
        trace = np.trace(s1) + np.trace(s2) - 2 * np.trace(sqrtm(s1 @ s2)).real
        return float(((one.mean() - two.mean()) ** 2).sum() + trace)

    slow, expected = timed(usual)
    fast, found = timed(lambda: frechet_distance(one, two))
    line(
        f"Fréchet distance, D = {DIMENSIONS}", slow, fast, f"difference {abs(found - expected):.1e}"
    )


def neighbours() -> None:
    """Time nearest neighbours on the thinned bank beside the whole one."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 5, 20_000)
    train = rng.normal(size=(20_000, DIMENSIONS)) + 0.3 * rng.normal(size=(5, DIMENSIONS))[labels]
    inside = (
        rng.normal(size=(2000, DIMENSIONS)) + 0.3 * rng.normal(size=(5, DIMENSIONS))[labels[:2000]]
    )
    new = np.concatenate([train[:2000] + rng.normal(size=(2000, DIMENSIONS)) * 0.5, inside])
    logits = np.zeros((len(train), 5))
    is_ood = np.arange(4000) >= 2000

    def usual() -> np.ndarray:
        bank = NearestNeighbors(n_neighbors=50, algorithm="brute").fit(unit(train))
        return bank.kneighbors(unit(new))[0][:, -1]

    slow, expected = timed(usual)
    fitted = Knn.fit(train, logits, labels, settings=OodSettings())
    fast, found = timed(lambda: fitted.score(new, np.zeros((4000, 5))))
    areas = [roc_auc_score(is_ood, scores) for scores in (expected, found)]
    line(
        "kNN, bank of 20,000 thinned to 2,000",
        slow,
        fast,
        f"AUROC {areas[0]:.3f} and {areas[1]:.3f}",
    )


def main() -> None:
    """Time everything and print a line each."""
    print(f"{'':<44} {'usual':>11} {'ours':>11} {'ratio':>9}")
    mmd()
    clustered_auroc()
    frechet()
    neighbours()


if __name__ == "__main__":
    main()
