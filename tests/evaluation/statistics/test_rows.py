"""Rows of sites share the draws of the per-site tables, and nothing of a site is copied."""

import numpy as np
import pytest

from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.statistics.sites import Sites

SETTINGS = EvaluationSettings(resamples=100)


@pytest.fixture(scope="module")
def sites(make_sites) -> Sites:
    predictions = make_sites(
        {"a": 300, "b": 200, "blank": 60}, held_out=("blank",), unlabelled=("blank",), per_patient=2
    )
    return Sites.of(predictions, SETTINGS)


def test_all_rows_of_a_labelled_site_have_the_very_draws_of_its_sample(sites: Sites) -> None:
    for site, rows in zip(sites.single, sites.every, strict=True):
        assert (site.name, len(site) + site.unlabelled) == (rows.name, len(rows))
        if not site.unlabelled:
            assert rows is site
        else:
            assert rows.counts.shape == (101, 30)
            assert (rows.counts[1:].sum(axis=1) == 30).all()


def test_totals_over_sites_are_those_of_the_draws_written_out(sites: Sites) -> None:
    together = sites.together("training")
    assert together.n_units == sum(rows.n_units for rows in sites.every if rows.role == "training")
    assert together.n_patients == together.n_units
    values = np.random.default_rng(0).normal(size=(len(together), 3))
    plain = together.counts[:, together.units].astype(float) @ values
    np.testing.assert_allclose(together.totals(values), plain, atol=1e-10)
    np.testing.assert_allclose(together.totals(values, 5), plain[:5], atol=1e-10)
    alone = next(rows for rows in sites.every if rows.name == "b")
    np.testing.assert_array_equal(sites.pool("training", [alone]).index, alone.index)


def test_sets_of_other_images_are_drawn_apart_from_sites_of_the_same_name(make_sites) -> None:
    predictions = make_sites({"a": 200}, splits=(0.0, 0.0, 1.0))
    own, other = (Sites.of(predictions, SETTINGS, draws=name).every[0] for name in ("site", "far"))
    assert own.counts.shape == other.counts.shape
    assert (own.counts[1:] != other.counts[1:]).any()
