"""The worst site and the gap: bounds that allow for whichever site seems to be the worst."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import norm

from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.statistics.binomial import exact_interval
from offsite.evaluation.statistics.estimates import Reason
from offsite.evaluation.statistics.measured import Measured, share
from offsite.evaluation.statistics.site import Site
from offsite.evaluation.tables.summaries import MeasuredSite, worst_and_gap

SETTINGS = EvaluationSettings(resamples=100)


def site_of(name: str, hits: np.ndarray, metric: str = "sensitivity") -> MeasuredSite:
    """A site whose positive patients were found or not."""
    n = len(hits)
    labels, even = np.zeros(n, dtype=np.int64), np.full((n, 2), 0.5)
    units = np.arange(n)
    site = Site(name=name, role="held_out", labels=labels, probabilities=even, units=units)
    values = np.array([hits.mean()])
    return site, {metric: share(metric, values, site, hits, positive=n)}


def both(sites: list[MeasuredSite], metric: str = "sensitivity") -> list[SimpleNamespace]:
    return [SimpleNamespace(**row) for row in worst_and_gap(metric, sites, SETTINGS)]


def of(name: str, found: int, patients: int) -> MeasuredSite:
    return site_of(name, np.arange(patients) < found)


def test_the_worst_has_the_least_of_bounds_that_hold_for_all_sites_together() -> None:
    counts = [(40, 50), (18, 30), (66, 70)]
    worst, _ = both([of(str(number), *pair) for number, pair in enumerate(counts)])
    each = 1 - (1 - 0.025) ** (1 / 3)
    ends = np.array([exact_interval(*pair, 1 - 2 * each) for pair in counts])
    assert (worst.value, worst.reason) == (0.6, Reason.OK)
    assert (worst.low, worst.high) == pytest.approx(tuple(ends.min(axis=0)))


def test_the_gap_of_two_sites_is_the_difference_of_two_shares() -> None:
    """Newcombe's (1998) way from the shares' own bounds; of two sites 95 % of a range are 95 %."""
    worst, gap = both([of("a", 45, 50), of("b", 30, 50)])
    one, other = exact_interval(45, 50), exact_interval(30, 50)
    assert gap.value == pytest.approx(0.3)
    assert gap.low == pytest.approx(0.3 - np.hypot(0.9 - one[0], other[1] - 0.6), abs=1e-6)
    assert gap.high == pytest.approx(0.3 + np.hypot(one[1] - 0.9, 0.6 - other[0]), abs=1e-6)
    assert worst.low < 0.6 < worst.high


def test_a_loss_is_worst_where_it_is_largest() -> None:
    rng = np.random.default_rng(0)
    sites = []
    for name, level in (("a", 0.2), ("b", 0.3)):
        site, _ = of(name, 50, 50)
        values = np.r_[level, level * np.exp(0.05 * rng.normal(size=100))]
        sites.append((site, {"brier": Measured(name="brier", values=values, n=50, scale="log")}))
    worst, gap = both(sites, "brier")
    assert worst.value == 0.3
    assert 0.25 < worst.low < 0.3 < worst.high < 0.4
    assert gap.low < 0.1 < gap.high


def test_a_site_of_few_patients_has_no_say_and_as_the_worst_no_interval() -> None:
    large = [of("a", 45, 50), of("b", 30, 50)]
    plain = both(large)
    assert [each.low for each in both([*large, of("c", 2, 3)])] == [each.low for each in plain]
    worst, gap = both([*large, of("c", 1, 3)])
    assert (worst.value, worst.low, worst.reason) == (1 / 3, None, Reason.TOO_FEW)
    assert (gap.low, gap.reason) == (None, Reason.TOO_FEW)


def test_one_site_with_an_interval_makes_no_gap() -> None:
    worst, gap = both([of("a", 10, 10), of("b", 2, 2)])
    assert worst.low is not None
    assert (gap.value, gap.low, gap.reason) == (0.0, None, Reason.TOO_FEW)


@pytest.mark.parametrize("deviation", [0.0, 0.6])
def test_bounds_hold_the_true_worst_and_the_true_gap(deviation: float) -> None:
    held, trials = np.zeros(2), 300
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        true = norm.cdf(1.0 + deviation * rng.normal(size=6))
        sites = [site_of(str(k), rng.random(60) < chance) for k, chance in enumerate(true)]
        for place, (told, truth) in enumerate(
            zip(both(sites), (true.min(), np.ptp(true)), strict=True)
        ):
            held[place] += told.low <= truth <= told.high
    assert (held / trials >= 0.93).all()
