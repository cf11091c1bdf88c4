"""AUROC and average precision of many draws at once equal scikit-learn's on the same resamples."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from offsite.evaluation.metrics.ranking import Ranking, auroc_and_precision
from offsite.evaluation.statistics.resampling import draw_counts


def problem(seed: int, rows: int = 400, units: int = 150, levels: int | None = None):
    rng = np.random.default_rng(seed)
    positive = rng.random(rows) < 0.3
    scores = rng.normal(size=rows) + positive
    if levels:
        scores = np.round(scores * levels) / levels
    return scores, positive, rng.integers(0, units, rows), rng


@pytest.mark.parametrize("levels", [None, 2], ids=["continuous", "tied"])
def test_each_draw_equals_scikit_learn_on_the_resampled_rows(levels: int | None) -> None:
    scores, positive, units, rng = problem(1, levels=levels)
    counts = draw_counts(150, 12, rng)
    auroc, precision = auroc_and_precision(Ranking.of(scores, positive, units), counts)
    for draw, area, average in zip(counts, auroc, precision, strict=True):
        rows = np.repeat(np.arange(len(scores)), draw[units])
        assert abs(area - roc_auc_score(positive[rows], scores[rows])) < 1e-12
        assert abs(average - average_precision_score(positive[rows], scores[rows])) < 1e-12


def test_precision_at_a_prevalence_is_that_of_rows_weighted_to_it() -> None:
    scores, positive, units, rng = problem(2, levels=3)
    counts = draw_counts(150, 6, rng)
    _, precision = auroc_and_precision(Ranking.of(scores, positive, units), counts, 0.05)
    for draw, average in zip(counts, precision, strict=True):
        drawn = draw[units].astype(float)
        share = drawn[positive].sum() / drawn.sum()
        weights = drawn * np.where(positive, 0.05 / share, 0.95 / (1 - share))
        assert (
            abs(average - average_precision_score(positive, scores, sample_weight=weights)) < 1e-12
        )


def test_precision_at_the_own_prevalence_is_plain_precision() -> None:
    scores, positive, units, _ = problem(3)
    ranking, ones = Ranking.of(scores, positive, units), np.ones((1, 150), dtype=np.uint8)
    own = auroc_and_precision(ranking, ones, float(positive.mean()))[1]
    np.testing.assert_allclose(own, auroc_and_precision(ranking, ones)[1], atol=1e-14)


def test_only_the_order_of_scores_counts() -> None:
    scores, positive, units, rng = problem(4)
    counts, order = draw_counts(150, 5, rng), rng.permutation(len(scores))
    plain = auroc_and_precision(Ranking.of(scores, positive, units), counts)
    shuffled = Ranking.of(np.exp(3 * scores)[order], positive[order], units[order])
    np.testing.assert_allclose(auroc_and_precision(shuffled, counts), plain, atol=1e-13)


def test_swapping_sides_and_signs_keeps_the_area() -> None:
    scores, positive, units, rng = problem(5, levels=2)
    counts = draw_counts(150, 5, rng)
    plain = auroc_and_precision(Ranking.of(scores, positive, units), counts)[0]
    swapped = auroc_and_precision(Ranking.of(-scores, ~positive, units), counts)[0]
    np.testing.assert_allclose(swapped, plain, atol=1e-13)


def test_a_draw_without_one_side_is_undefined_and_the_others_are_not() -> None:
    ranking = Ranking.of(np.array([0.9, 0.8, 0.1]), np.array([True, False, False]), np.arange(3))
    counts = np.array([[1, 1, 1], [0, 2, 1], [3, 0, 0]], dtype=np.uint8)
    auroc, precision = auroc_and_precision(ranking, counts)
    assert (auroc[0], precision[0]) == (1.0, 1.0)
    assert np.isnan(auroc[1:]).all()
    assert np.isnan(precision[1:]).all()


def test_without_positive_rows_every_draw_is_undefined() -> None:
    ranking = Ranking.of(np.array([0.2, 0.1]), np.zeros(2, dtype=bool), np.arange(2))
    assert np.isnan(auroc_and_precision(ranking, np.ones((3, 2), dtype=np.uint8))).all()
