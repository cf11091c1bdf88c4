"""Sums by site: they add up to all rows, a site can be taken out, and they survive a file."""

import numpy as np
import pytest

from offsite.training.heads.site_sums import SiteSums, bytes_of_second_moments
from offsite.training.heads.sums import RowSums, fit_grades


@pytest.fixture(scope="module")
def rows():
    draw = np.random.default_rng(0)
    sites = np.repeat(["north", "south", "west"], [40, 10, 50])
    return draw.normal(size=(100, 6)), draw.integers(0, 3, 100), sites


def test_together_they_are_the_sums_of_all_rows(rows):
    x, labels, sites = rows
    whole = RowSums.of(x, labels, np.ones(100), 3)
    found = SiteSums.of(x, labels, sites, 3).together()
    np.testing.assert_allclose(found.weights, whole.weights)
    np.testing.assert_allclose(found.sums, whole.sums, atol=1e-12)
    np.testing.assert_allclose(found.second, whole.second, atol=1e-12)


def test_a_head_is_fitted_with_sites_weighing_the_root_of_their_rows(rows):
    x, labels, sites = rows
    counts = np.array([np.sum(sites == site) for site in sites])
    weights = counts**-0.5 / (counts**-0.5).sum()
    wanted = fit_grades(RowSums.of(x, labels, weights, 3), [0.5])[0]
    found = fit_grades(SiteSums.of(x, labels, sites, 3).weighted(), [0.5])[0]
    np.testing.assert_allclose(found[0], wanted[0], atol=1e-10)
    assert found[1] == pytest.approx(wanted[1])


def test_a_hospital_that_leaves_leaves_the_sums_of_the_others(rows):
    x, labels, sites = rows
    here = sites != "south"
    found = SiteSums.of(x, labels, sites, 3)
    left = found.together() - found.parts[found.sites.index("south")]
    wanted = RowSums.of(x[here], labels[here], np.ones(int(here.sum())), 3)
    np.testing.assert_allclose(left.second, wanted.second, atol=1e-12)
    np.testing.assert_allclose(left.sums, wanted.sums, atol=1e-12)


def test_they_come_back_from_arrays_and_ill_fitting_ones_are_refused(rows):
    sums = SiteSums.of(*rows, 3)
    arrays = sums.arrays()
    assert all(array.dtype == np.float64 for array in arrays.values())
    assert arrays["second"].nbytes == bytes_of_second_moments(3, 6)
    back = SiteSums.from_arrays(arrays, sums.sites)
    np.testing.assert_array_equal(back.weighted().second, sums.weighted().second)
    with pytest.raises(ValueError, match="sites"):
        SiteSums.from_arrays(arrays, ["north"])
