"""Draws are counts that sum up, depend on seed and site alone, and keep strata where asked."""

import numpy as np
import pytest

from offsite.evaluation.statistics.resampling import (
    blocks,
    draw_counts,
    generator_of,
    point_and_draws,
    stratified_counts,
    weighted_sums,
)
from offsite.evaluation.statistics.site import Site


def test_each_draw_draws_as_many_units_as_there_are() -> None:
    counts = draw_counts(37, 200, generator_of(0))
    assert counts.shape == (200, 37)
    assert (counts.sum(axis=1) == 37).all()


def test_counts_have_the_law_of_the_bootstrap() -> None:
    counts = draw_counts(50, 4000, generator_of(1)).astype(float)
    assert abs(counts.mean() - 1) < 1e-12
    assert counts.var() == pytest.approx(1 - 1 / 50, rel=0.02)
    assert (counts == 0).mean() == pytest.approx((1 - 1 / 50) ** 50, abs=0.005)


@pytest.mark.parametrize("units", [0, 1])
def test_no_unit_and_one_unit(units: int) -> None:
    assert draw_counts(units, 5, generator_of(0)).tolist() == [[1] * units] * 5


def test_generators_hang_on_seed_and_name() -> None:
    def first(seed: int, *names: str) -> int:
        return int(generator_of(seed, *names).integers(2**62))

    assert first(0, "site", "a") == first(0, "site", "a")
    assert len({first(0, "site", "a"), first(0, "site", "b"), first(1, "site", "a")}) == 3
    assert first(0, "ab", "c") != first(0, "a", "bc")


def test_strata_keep_their_sizes() -> None:
    strata = np.array([0] * 5 + [1] * 20 + [2])
    counts = stratified_counts(strata, 50, generator_of(0))
    for stratum, size in ((0, 5), (1, 20), (2, 1)):
        assert (counts[:, strata == stratum].sum(axis=1) == size).all()


def test_a_patient_is_in_the_stratum_of_its_highest_grade() -> None:
    site = Site(
        labels=np.array([0, 3, 0, 0]),
        probabilities=np.full((4, 4), 0.25),
        units=np.array([0, 0, 1, 2]),
    )
    counts = point_and_draws(site.units, site.labels, 30, generator_of(0), stratified=True)[1:]
    assert (counts[:, 0] == 1).all()
    assert (counts[:, 1:].sum(axis=1) == 2).all()


def test_the_point_estimate_is_a_first_draw_of_ones_and_sums_are_exact_in_blocks() -> None:
    rng = np.random.default_rng(0)
    counts = np.vstack([np.ones((1, 40), dtype=np.uint8), draw_counts(40, 700, rng)])
    sums = rng.normal(size=(40, 3))
    np.testing.assert_allclose(weighted_sums(counts, sums)[0], sums.sum(axis=0), atol=1e-13)
    np.testing.assert_allclose(weighted_sums(counts, sums), counts @ sums, atol=1e-12)
    assert sum(len(block) for block in blocks(counts, 10**6)) == 701
