"""Method `linear` of slides: its head is the ridge of its sums, its answers are those of the file."""

import json

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file
from scipy.special import softmax
from slides_on_disk import make, settings

from offsite.errors import InputError
from offsite.pathology.bags import Bags
from offsite.pathology.features.file import feature_path, read_features
from offsite.pathology.inference import load_slide_model, predict_bag, predict_bags
from offsite.pathology.linear_network import LinearSlides
from offsite.pathology.training import train_pathology
from offsite.training.heads.logits import fit_logits
from offsite.training.heads.site_sums import SiteSums
from offsite.training.heads.sums import fit_targets
from offsite.training.run_folder import SUMS


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("linear")
    cohort = make(folder / "features", patients=72)
    path = folder / "run"
    chosen = settings("linear", linear={"folds": 3})
    return folder / "features", path, train_pathology(cohort, folder / "features", chosen, path)


def facts(path):
    return json.loads((path / "run.json").read_text())["facts"]


def network(path):
    return load_slide_model(path / "weights.safetensors", facts(path)["architecture"])


def test_it_tells_what_the_mean_shows(made):
    _, _, table = made
    held = table["site"] == "held"
    right = (table["prob_tumour"] > 0.5) == (table["label"] == "tumour")
    assert right[held].mean() > 0.85


def test_a_head_learnt_in_rounds_tells_it_too_and_no_hospital_can_join_it(made, tmp_path):
    features, _, _ = made
    cohort = make(features, patients=72)
    chosen = settings("linear", linear={"rich": {"passes": 60, "learning_rate": 0.05}})
    table = train_pathology(cohort, features, chosen, tmp_path / "run")
    held = table["site"] == "held"
    right = (table["prob_tumour"] > 0.5) == (table["label"] == "tumour")
    assert right[held].mean() > 0.85
    assert facts(tmp_path / "run")["rounds"] == 3
    assert "penalty" not in facts(tmp_path / "run")


def test_the_head_is_the_ridge_of_the_sums_that_the_run_keeps(made):
    _, path, table = made
    told = facts(path)
    sums = SiteSums.from_arrays(load_file(path / SUMS), told["sites_of_sums"])
    trained = table[(table["split"] == "train") & (table["site_role"] == "training")]
    assert sums.together().weights.tolist() == [
        (trained["label"] == name).sum() for name in ("normal", "tumour")
    ]
    slopes, _ = fit_targets(sums.weighted(), np.eye(2), [told["penalty"]])[0]
    weight = network(path).classifier.weight.detach().numpy()
    scale = weight[1, 0] / slopes[0, 1]
    assert scale > 0
    np.testing.assert_allclose(weight.T, slopes * scale, rtol=1e-4, atol=1e-6)


def test_a_slide_has_the_same_answer_on_every_way(made):
    folder, path, table = made
    model, row = network(path), table.iloc[3]
    features = read_features(feature_path(folder, row["slide"])).features
    alone = predict_bag(model, features)
    np.testing.assert_allclose(
        alone.probabilities, row[["prob_normal", "prob_tumour"]].to_numpy(float), atol=1e-6
    )
    np.testing.assert_allclose(alone.embedding, np.load(path / "embeddings.npy")[3], atol=1e-6)
    np.testing.assert_array_equal(alone.embedding, alone.mean_features)
    batch = predict_bags(model, Bags.pack([features, features[:5]]))
    np.testing.assert_allclose(batch[0].logits, alone.logits, atol=1e-5)
    streamed = predict_bag(model, features, max_rows=4)
    np.testing.assert_allclose(streamed.logits, alone.logits, atol=1e-5)
    np.testing.assert_allclose(streamed.attention, alone.attention)


def test_a_held_out_site_changes_nothing_of_the_head(made, tmp_path):
    folder, path, _ = made
    cohort = make(folder, patients=72)
    table = cohort.table.copy()
    table.loc[table["site"] == "held", "label"] = "tumour"
    chosen = settings("linear", linear={"folds": 3})
    train_pathology(cohort.with_table(table), folder, chosen, tmp_path / "run")
    again = (tmp_path / "run" / "weights.safetensors").read_bytes()
    assert again == (path / "weights.safetensors").read_bytes()


def test_slides_of_a_patient_share_an_answer_where_patients_are_answered(made, tmp_path):
    folder, _, _ = made
    cohort = make(folder, patients=72)
    chosen = settings("linear", linear={"folds": 3}, pooling="patient_union")
    table = train_pathology(cohort, folder, chosen, tmp_path / "run")
    assert (table.groupby("patient")["prob_tumour"].nunique() == 1).all()


def test_too_few_patients_are_refused(tmp_path):
    cohort = make(tmp_path / "features", patients=24)
    chosen = settings("linear", linear={"folds": 20})
    with pytest.raises(InputError, match="folds") as caught:
        train_pathology(cohort, tmp_path / "features", chosen, tmp_path / "run")
    assert caught.value.code == "too_few_patients"


def test_logits_are_the_likeliest_of_their_kind():
    draw = np.random.default_rng(0)
    truth = draw.normal(size=(4000, 3)) * 0.4
    logits = truth * 3.0 + [0.5, 0.0, -0.5]
    labels = np.array([draw.choice(3, p=p) for p in softmax(logits, axis=1)])
    scale, shifts = fit_logits(truth, labels, np.full(4000, 1 / 4000))
    assert scale == pytest.approx(3.0, rel=0.15)
    np.testing.assert_allclose(shifts, [0.5, 0, -0.5], atol=0.12)


def test_a_network_without_a_head_still_tells_means():
    rows = np.random.default_rng(1).normal(size=(7, 4)).astype(np.float32)
    told = predict_bag(LinearSlides(4, 2), rows)
    np.testing.assert_allclose(told.embedding, rows.mean(axis=0), atol=1e-6)
    assert told.attention.sum() == pytest.approx(1)


def test_all_of_a_run_is_read_back(made):
    folder, path, table = made
    cohort = make(folder, patients=72)
    again = train_pathology(cohort, folder, settings("linear", linear={"folds": 3}), path)
    pd.testing.assert_frame_equal(again, table)
