"""Whether embeddings go by class or by site, against plain counting and known truth."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.decomposition import PCA

from offsite.evaluation.statistics.sites import Sites
from offsite.evaluation.tables.embeddings import embedding_tables, enough, nearer, plane

RNG = np.random.default_rng(0)


def tables(predictions, **changes):
    return embedding_tables(Sites.of(replace(predictions, **changes)))


def values(found, metric, role="training"):
    table = found["embeddings"]
    rows = table[(table["metric"] == metric) & (table["site_role"] == role)]
    return rows.set_index("label")["value"].astype(float)


@pytest.fixture(scope="module")
def predictions(make_sites):
    return make_sites(
        {"a": 240, "b": 160, "away": 70, "mute": 30}, held_out=("away", "mute"),
        unlabelled=("mute",), per_patient=2, noise=0.7,
    )  # fmt: skip


def test_a_share_of_pairs_is_what_counting_them_gives_ties_half():
    distances = RNG.integers(0, 6, (5, 17)).astype(float)
    alike = RNG.random(17) < 0.4
    plain = [
        np.mean([(a < b) + (a == b) / 2 for a in row[alike] for b in row[~alike]])
        for row in distances
    ]
    np.testing.assert_allclose(nearer(distances, alike), plain)


def test_the_plane_is_that_of_principal_components_and_its_signs_are_no_machine_s():
    rows = RNG.normal(size=(60, 7)) * np.linspace(3, 0.5, 7) + 4
    centre, axes, along = plane(rows)
    theirs = PCA(2).fit(rows)
    np.testing.assert_allclose(along, theirs.explained_variance_ratio_)
    np.testing.assert_allclose(np.abs((rows - centre) @ axes.T), np.abs(theirs.transform(rows)))
    assert (axes[np.arange(2), np.abs(axes).argmax(axis=1)] > 0).all()


def test_rows_along_a_line_have_no_second_direction():
    rows = np.outer(np.arange(6.0), [1.0, 2.0])
    for given in (rows, rows[:, 1:]):
        axes, along = plane(given)[1:]
        np.testing.assert_allclose(along, [1, 0])
        assert not axes[1].any()


def test_of_many_rows_those_of_small_groups_are_all_kept():
    groups = np.repeat(["a", "b", "c"], [900, 80, 7])
    some = enough(groups, 100)
    assert {name: int((groups[some] == name).sum()) for name in "abc"} == {"a": 47, "b": 46, "c": 7}
    np.testing.assert_array_equal(some, enough(groups, 100))
    assert len(enough(groups, 5000)) == 987


def test_classes_that_lie_apart_are_nearer_and_noise_is_at_a_half(predictions):
    found = tables(predictions)
    assert (values(found, "class_nearer") > 0.8).all()
    assert (values(found, "class_nearer", "held_out") > 0.8).all()
    assert abs(values(found, "site_nearer") - 0.5).max() < 0.08
    noise = RNG.normal(size=predictions.embeddings.shape)
    assert abs(values(tables(predictions, embeddings=noise), "class_nearer") - 0.5).max() < 0.08


def test_a_site_that_shows_is_nearer(make_sites):
    moved = make_sites({"a": 200, "b": 200}, moved={"b": 6.0})
    assert (values(tables(moved), "site_nearer") > 0.9).all()


def test_an_interval_holds_its_value_and_is_over_patients(predictions):
    table = tables(predictions)["embeddings"]
    assert (table["reason"] == "ok").all()
    assert ((table["low"] < table["value"]) & (table["value"] < table["high"])).all()
    assert (table["n_patients"] <= table["n"]).all()
    assert (table["n_patients"] < table["n"]).any()


def test_the_map_has_each_test_image_where_the_training_images_plane_puts_it(predictions):
    found = tables(predictions)["embedding_map"]
    test = predictions.table["split"] == "test"
    assert found["site"].value_counts().to_dict() == (
        predictions.table.loc[test, "site"].value_counts().to_dict()
    )
    assert found["site_role"].tolist() == sorted(found["site_role"], reverse=True)
    assert (found.loc[found["site"] == "mute", "label"] == "").all()
    fit = (
        (predictions.table["split"] == "train") & (predictions.table["site"] != "away")
    ).to_numpy()
    centre, axes, along = plane(predictions.embeddings[fit])
    away = (predictions.table["site"] == "away").to_numpy()
    np.testing.assert_allclose(
        found.loc[found["site"] == "away", ["x", "y"]],
        (predictions.embeddings[away] - centre) @ axes.T,
    )
    np.testing.assert_allclose(found["explained_y"], along[1])


def test_test_images_do_not_move_the_map(predictions):
    elsewhere = predictions.embeddings.copy()
    away = (predictions.table["site"] == "away").to_numpy()
    elsewhere[away] += 100
    before, after = (
        found["embedding_map"].query("site != 'away'")[["x", "y"]]
        for found in (tables(predictions), tables(predictions, embeddings=elsewhere))
    )
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda p: replace(p, embeddings=None), "no_embeddings"),
        (lambda p: replace(p, embeddings=np.ones((len(p), 4))), "constant_embeddings"),
        (lambda p: p.select((p.table["split"] == "test").to_numpy()), "no_samples"),
        (
            lambda p: p.select(
                (
                    (p.table["split"] == "test") | (np.arange(len(p)) == _first_of_training(p))
                ).to_numpy()
            ),
            "too_few",
        ),
    ],
)
def test_what_cannot_be_compared_says_why(predictions, made, reason):
    found = embedding_tables(Sites.of(made(predictions)))
    assert found["embedding_map"].empty
    assert set(found["embeddings"]["reason"]) == {reason}
    assert found["embeddings"]["value"].isna().all()


def _first_of_training(predictions):
    return int(np.flatnonzero(predictions.table["split"] == "train")[0])


def test_a_class_without_training_or_test_images_has_no_value_and_says_so(predictions):
    table = predictions.table
    train, test = table["split"] == "train", table["split"] == "test"
    kept = ~(train & (table["label"] == "c2")) & ~(test & (table["label"] == "c1"))
    found = embedding_tables(Sites.of(predictions.select(kept.to_numpy())))["embeddings"]
    by_class = found[found["metric"] == "class_nearer"].groupby("label")["reason"].unique()
    assert {name: set(reasons) for name, reasons in by_class.items()} == {
        "c0": {"ok"}, "c1": {"no_samples"}, "c2": {"no_samples"},
    }  # fmt: skip
