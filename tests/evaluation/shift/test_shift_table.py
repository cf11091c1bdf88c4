"""The shift tables: each kind of shift is found where it is, and only there."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from offsite.evaluation.settings import ShiftSettings
from offsite.evaluation.shift.table import shift_tables
from offsite.evaluation.statistics.sites import Sites
from offsite.evaluation.tables.schemas import SCHEMAS

LEVEL = 0.05 / 18  # of three questions at six sites
FAST = ShiftSettings(permutations=99, resamples=60, max_rows=300, null_splits=19)


@pytest.fixture(scope="module")
def predictions(make_sites):
    return make_sites(
        {"a": 1200, "b": 1200, "same": 300, "moved": 300, "sicker": 400, "worse": 400},
        moved={"moved": 1.5},
        priors={"sicker": (0.1, 0.2, 0.7)},
        held_out=("same", "moved", "sicker", "worse"),
    )


@pytest.fixture(scope="module")
def tables(predictions):
    # At "worse" the features stay as they are and a third of the labels are others.
    rng = np.random.default_rng(1)
    wrong = (predictions.table["site"] == "worse").to_numpy() & (rng.random(len(predictions)) < 0.3)
    labels = np.where(wrong, rng.permutation(predictions.labels), predictions.labels)
    return tuple(shift_tables(Sites.of(replace(predictions, labels=labels)), FAST).values())


def row(table, site, kind, statistic=None):
    rows = table[(table.site == site) & (table.kind == kind)]
    if statistic is not None:
        rows = rows[rows.statistic == statistic]
    assert len(rows) == 1
    return rows.iloc[0]


def test_each_site_has_three_rows_and_training_sites_come_first(tables):
    table = tables[0]
    assert tuple(table.columns) == SCHEMAS["shift"].columns
    assert table.site.drop_duplicates().tolist() == ["a", "b", "moved", "same", "sicker", "worse"]
    kinds = table.groupby("site").kind.apply(list)
    assert all(kind == ["covariate", "prevalence", "performance"] for kind in kinds)
    assert (table.reason == "ok").all()


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        ("same", (False, False, False)),
        ("moved", (True, False, False)),
        ("worse", (False, False, True)),
    ],
)
def test_a_shift_is_flagged_in_its_own_row_and_no_other(tables, site, expected):
    found = tuple(
        row(tables[0], site, kind).p_value <= LEVEL
        for kind in ("covariate", "prevalence", "performance")
    )
    assert found == expected


def test_a_sicker_site_is_a_prevalence_shift_that_vanishes_within_classes(tables):
    heads, details = tables
    prior = row(heads, "sicker", "prevalence")
    assert prior.p_value <= LEVEL
    assert prior.value == pytest.approx(0.367, abs=0.08)  # (|.1-.33| + |.2-.33| + |.7-.33|) / 2
    assert 0.25 < prior.low < prior.value < prior.high < 0.48
    assert row(heads, "sicker", "covariate").p_value <= LEVEL  # other classes, so other features
    assert row(details, "sicker", "covariate", "within_class_mmd2").p_value > 0.05
    assert row(details, "moved", "covariate", "within_class_mmd2").p_value <= 0.01
    assert row(heads, "sicker", "performance").p_value > 0.05


def test_estimated_priors_agree_with_the_labels(tables):
    details = tables[1]
    true = row(details, "sicker", "prevalence", "prior_distance").value
    for name in ("prior_distance_em", "prior_distance_bbse"):
        assert row(details, "sicker", "prevalence", name).value == pytest.approx(true, abs=0.07)
    shares = [row(details, "sicker", "prevalence", f"prior/c{label}").value for label in range(3)]
    np.testing.assert_allclose(shares, [0.1, 0.2, 0.7], atol=0.08)
    assert sum(shares) == pytest.approx(1)


def test_a_prior_is_withheld_where_label_shift_does_not_explain_the_outputs(make_sites):
    predictions = make_sites(
        {"a": 1500, "b": 1500, "sicker": 400, "odd": 400},
        priors={"sicker": (0.1, 0.2, 0.7)},
        held_out=("sicker", "odd"),
        unlabelled=("sicker", "odd"),
    )
    # At "odd" the model is sure of everything, which no mixture of classes would make it.
    odd = (predictions.table["site"] == "odd").to_numpy()
    p = predictions.probabilities.copy()
    p[odd] = 0.98 * np.eye(3)[p[odd].argmax(axis=1)] + 0.02 / 3
    heads, details = shift_tables(Sites.of(replace(predictions, probabilities=p)), FAST).values()
    assert row(heads, "sicker", "prevalence").value == pytest.approx(0.37, abs=0.08)
    assert row(heads, "sicker", "prevalence").p_value <= LEVEL
    withheld = row(heads, "odd", "prevalence")
    assert withheld.reason == "prior_unidentified"
    assert pd.isna(withheld.value)
    assert row(details, "odd", "prevalence", "label_shift_misfit").p_value < 0.01
    assert row(details, "sicker", "prevalence", "label_shift_misfit").p_value > 0.01


def test_prior_correction_helps_where_prevalence_shifted_and_is_marked(tables):
    details = tables[1]
    plain = row(details, "sicker", "performance", "log_loss")
    corrected = row(details, "sicker", "performance", "log_loss_prior_corrected")
    assert corrected.value < plain.value
    marked = set(details.statistic[details.transductive.astype(bool)])
    assert marked == {
        "prior_distance_em",
        "prior_distance_bbse",
        "label_shift_misfit",
        "prior/c0",
        "prior/c1",
        "prior/c2",
        "accuracy_prior_corrected",
        "log_loss_prior_corrected",
    }


def test_distances_and_the_classifier_see_the_moved_site_alone(tables):
    details = tables[1]
    for statistic in ("energy", "c2st_auroc", "frechet", "whitened_mean"):
        moved = row(details, "moved", "covariate", statistic)
        assert moved.value > moved.null_high
        assert moved.p_value <= 0.05
        same = row(details, "same", "covariate", statistic)
        assert same.p_value > 0.01
    assert row(details, "moved", "covariate", "c2st_auroc").value > 0.75


def test_the_features_of_all_sites_have_two_rows_of_their_own(tables):
    details = tables[1]
    told = row(details, "_pooled", "features", "site_balanced_accuracy")
    assert told.value > told.null_high
    index = row(details, "_pooled", "features", "robustness_index")
    assert 0.5 < index.low < index.value < index.high <= 1


def test_no_cell_is_nan_and_keys_are_unique(tables):
    for table in tables:
        assert not table.duplicated(["site", "kind", "statistic"]).any()
        numbers = table[["value", "low", "high", "null_high", "p_value"]]
        assert np.isfinite(numbers.astype(float).fillna(0.0)).all().all()
        assert table.value[table.reason != "ok"].isna().all()


def test_the_headlines_equal_those_of_the_details(tables):
    heads, details = tables
    merged = heads.merge(details, on=list(SCHEMAS["shift"].columns), how="inner")
    assert len(merged) == len(heads)


def test_odd_sites_have_reasons_in_place_of_values(make_sites):
    predictions = make_sites(
        {"a": 700, "tiny": 6, "blank": 60, "one_class": 60},
        priors={"one_class": (1.0, 0.0, 0.0)},
        held_out=("tiny", "blank", "one_class"),
        unlabelled=("blank",),
    )
    heads, details = shift_tables(Sites.of(predictions), FAST).values()
    assert row(heads, "tiny", "covariate").reason == "too_few"
    assert row(heads, "tiny", "performance").reason == "too_few"
    assert row(heads, "blank", "performance").reason == "no_labels"
    assert row(heads, "blank", "prevalence").reason == "ok"
    assert row(heads, "blank", "covariate").reason == "ok"
    assert row(heads, "one_class", "performance").reason == "single_class"
    assert row(heads, "one_class", "prevalence").p_value <= LEVEL
    assert row(heads, "a", "covariate").reason == "no_samples"  # no other training site
    blank = row(heads, "blank", "prevalence")
    assert (blank.statistic, bool(blank.transductive)) == ("prior_distance_em", True)
    assert row(heads, "one_class", "prevalence").statistic == "prior_distance"
    assert row(details, "one_class", "performance", "accuracy").reason == "ok"
    undefined = heads[heads.reason != "ok"]
    assert undefined.value.isna().all()
    assert undefined.p_value.isna().all()


def test_without_embeddings_labels_still_tell(predictions):
    bare = replace(predictions, embeddings=None)
    heads, details = shift_tables(Sites.of(bare), FAST).values()
    assert set(heads.reason[heads.kind == "covariate"]) == {"no_embeddings"}
    assert set(heads.reason[heads.kind != "covariate"]) == {"ok"}
    assert row(details, "_pooled", "features", "robustness_index").reason == "no_embeddings"


def test_a_collapsed_model_has_a_reason_and_no_crash(predictions):
    flat = replace(predictions, embeddings=np.ones_like(predictions.embeddings))
    heads, details = shift_tables(Sites.of(flat), FAST).values()
    assert set(heads.reason[heads.kind == "covariate"]) == {"constant_embeddings"}
    assert set(details.reason[details.kind == "features"]) == {"constant_embeddings"}
    # At one site only: the farthest shift there is, and not a failure.
    one = predictions.embeddings.copy()
    one[(predictions.table["site"] == "same").to_numpy()] = 0.0
    _, details = shift_tables(Sites.of(replace(predictions, embeddings=one)), FAST).values()
    found = details[(details.site == "same") & (details.kind == "covariate")]
    assert set(found.reason) == {"ok"}
    assert row(details, "same", "covariate", "frechet").p_value <= 0.05


def test_the_table_survives_csv(tables, tmp_path):
    tables[0].to_csv(tmp_path / "shift.csv", index=False)
    back = pd.read_csv(tmp_path / "shift.csv")
    np.testing.assert_allclose(back.value, tables[0].value.astype(float))
    assert not back.p_value.isna().any()
