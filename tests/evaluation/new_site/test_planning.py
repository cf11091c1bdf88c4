"""Numbers of cases: the fewest that do, and what comes of collecting so many."""

import numpy as np
import pytest

from offsite.evaluation.new_site.planning import (
    cases_for,
    positives_for_sensitivity,
    positives_for_threshold,
)
from offsite.evaluation.new_site.settings import local_threshold
from offsite.evaluation.statistics.binomial import exact_interval


@pytest.mark.parametrize(("sensitivity", "within"), [(0.9, 0.05), (0.8, 0.1), (0.95, 0.03)])
def test_one_case_fewer_is_too_few_for_the_sensitivity(sensitivity: float, within: float) -> None:
    def reach(n: int) -> float:
        low, high = exact_interval(sensitivity * n, n)
        return max(sensitivity - low, high - sensitivity)

    needed = positives_for_sensitivity(sensitivity, within)
    assert needed is not None
    assert reach(needed) <= within < reach(needed - 1)
    assert positives_for_sensitivity(sensitivity, within, 0.8) < needed


def test_a_threshold_from_so_many_positives_means_sensitivities_so_near() -> None:
    sensitivity, within = 0.9, 0.08
    needed = positives_for_threshold(sensitivity, within)
    assert needed is not None
    scores = np.random.default_rng(0).random(needed)
    cut = local_threshold(scores, np.ones(needed, dtype=bool), sensitivity)
    assert cut.low is not None
    assert cut.high is not None
    # Ranks: the ends stand so many scores from the wanted share.
    for end in (cut.low, cut.high):
        assert abs((scores >= end).mean() - sensitivity) <= within + 1 / needed
    few = local_threshold(scores[:20], np.ones(20, dtype=bool), sensitivity)
    assert few.low is None


def test_so_many_cases_hold_enough_positives_in_nine_of_ten() -> None:
    rng = np.random.default_rng(1)
    cases = cases_for(60, 0.15)
    held = (rng.binomial(cases, 0.15, 20_000) >= 60).mean()
    assert 0.895 <= held <= 0.92
    assert (rng.binomial(cases - 5, 0.15, 20_000) >= 60).mean() < held


def test_what_nobody_can_collect_is_none() -> None:
    assert positives_for_sensitivity(0.5, 0.001) is None
    assert positives_for_threshold(0.5, 0.001) is None
