"""The table of prediction sets: coverage counted right, sizes right, missing parts named."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from offsite.evaluation.conformal.table import conformal_table, fit_sets
from offsite.evaluation.settings import ConformalSettings
from offsite.evaluation.statistics.sites import Sites
from offsite.evaluation.tables.schemas import SCHEMAS


@pytest.fixture(scope="module")
def predictions(make_sites):
    return make_sites(
        {"a": 1600, "b": 1600, "same": 300, "sicker": 300},
        priors={"sicker": (0.1, 0.2, 0.7)},
        held_out=("same", "sicker"),
        per_patient=2,
    )


@pytest.fixture(scope="module")
def table(predictions):
    return conformal_table(Sites.of(predictions), ConformalSettings())


def cell(table, site, role, level, label="_all", weighted=False):
    rows = table[
        (table.site == site)
        & (table.site_role == role)
        & (table.level == level)
        & (table.label == label)
        & (table.weighted == weighted)
    ]
    assert len(rows) == 1
    return rows.iloc[0]


def test_rows_and_columns_are_the_documented_ones(table):
    assert tuple(table.columns) == SCHEMAS["conformal"].columns
    keys = ["site", "site_role", "level", "label", "weighted"]
    assert not table.duplicated(keys).any()
    assert set(table[table.weighted].site) == {"same", "sicker"}
    assert set(table.label) == {"_all", "c0", "c1", "c2"}
    assert (table.reason == "ok").all()


def test_coverage_and_sizes_are_those_of_the_sets(predictions, table):
    sets = fit_sets(predictions, ConformalSettings())
    mask = (predictions.table["site"] == "same").to_numpy()
    found = sets.predict(predictions.probabilities[mask], np.repeat("same", mask.sum()), 0.9)
    labels = predictions.labels[mask]
    covered = found.members[np.arange(len(labels)), labels]
    row = cell(table, "same", "held_out", 0.9)
    assert row.coverage == pytest.approx(covered.mean())
    assert row.mean_size == pytest.approx(found.sizes.mean())
    assert row.singleton_rate == pytest.approx((found.sizes == 1).mean())
    assert row.empty_rate == pytest.approx((found.sizes == 0).mean())
    own = cell(table, "same", "held_out", 0.9, "c1")
    assert own.coverage == pytest.approx(covered[labels == 1].mean())
    assert (row.n, row.n_patients, own.n) == (300, 150, (labels == 1).sum())


def test_training_sites_use_their_own_bins_and_new_sites_the_parent(predictions, table):
    validation = (predictions.table["split"] == "val").to_numpy()
    site = predictions.table["site"].to_numpy(str)
    at_a = cell(table, "a", "training", 0.9, "c0")
    assert at_a.calibrated_at == "site"
    assert at_a.n_calibration == (validation & (site == "a") & (predictions.labels == 0)).sum()
    at_same = cell(table, "same", "held_out", 0.9, "c0")
    assert at_same.calibrated_at == "parent"
    assert at_same.n_calibration == (validation & (predictions.labels == 0)).sum()
    assert at_same.beta_sd < at_a.beta_sd
    assert cell(table, "a", "training", 0.9).n_calibration == (validation & (site == "a")).sum()


def test_coverage_by_class_does_not_hang_on_prevalence(table):
    # With a threshold for each class, other class frequencies leave every class's coverage.
    for label in ("c0", "c1", "c2"):
        row = cell(table, "sicker", "held_out", 0.9, label)
        assert row.low < 0.93
        assert row.high > 0.87


def test_the_pooled_rows_are_kept_by_role(table):
    assert cell(table, "_pooled", "training", 0.95).n > 600
    assert cell(table, "_pooled", "held_out", 0.95).n == 600


def test_weighted_sets_state_their_effective_rows(table):
    row = cell(table, "sicker", "held_out", 0.9, weighted=True)
    assert 100 < row.n_effective < row.n_calibration
    assert pd.isna(row.beta_sd)


def test_odd_sites_have_reasons_and_sizes_need_no_labels(make_sites):
    predictions = make_sites(
        {"a": 900, "blank": 40, "one_class": 40, "tiny": 3},
        priors={"one_class": (0.0, 1.0, 0.0)},
        held_out=("blank", "one_class", "tiny"),
        unlabelled=("blank",),
    )
    table = conformal_table(Sites.of(predictions), ConformalSettings(levels=(0.9,)))
    blank = cell(table, "blank", "held_out", 0.9)
    assert blank.reason == "no_labels"
    assert 0.8 < blank.mean_size < 3
    assert cell(table, "one_class", "held_out", 0.9, "c0").reason == "no_samples"
    assert cell(table, "one_class", "held_out", 0.9, "c1").reason == "ok"
    assert cell(table, "tiny", "held_out", 0.9).n == 3
    undefined = table[table.reason != "ok"]
    assert undefined.coverage.isna().all()
    assert table.beta_sd[table.weighted].isna().all()


def test_a_class_too_small_to_calibrate_refers_every_case(make_sites):
    predictions = make_sites({"a": 900, "b": 60}, priors={"a": (0.6, 0.39, 0.01)}, held_out=("b",))
    table = conformal_table(
        Sites.of(predictions), ConformalSettings(levels=(0.95,), weighted=False)
    )
    row = cell(table, "b", "held_out", 0.95)
    assert row.refer_rate == 1.0
    rare = cell(table, "b", "held_out", 0.95, "c2")
    assert rare.coverage == 1.0
    assert rare.n_calibration < 19
    assert pd.isna(rare.beta_sd)


def test_without_calibration_rows_the_table_says_so(make_sites):
    predictions = make_sites({"a": 50}, held_out=("a",))
    table = conformal_table(Sites.of(predictions), ConformalSettings(levels=(0.9,)))
    assert set(table.reason) == {"no_samples"}
    assert fit_sets(predictions, ConformalSettings()) is None


def test_without_embeddings_the_weights_come_from_probabilities(predictions):
    table = conformal_table(
        Sites.of(replace(predictions, embeddings=None)), ConformalSettings(levels=(0.9,))
    )
    row = cell(table, "sicker", "held_out", 0.9, weighted=True)
    assert row.reason == "ok"
    assert row.n_effective > 50
