"""Method `linear`: one reading, one head, the same answers on every way."""

import json

import h5py
import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from offsite.errors import InputError
from offsite.preprocessing.synthetic.fundus.sites import GRADES
from offsite.retina.evidence_map import evidence_maps
from offsite.retina.inference import grade, grade_with_maps, load_fundus_model
from offsite.retina.linear import features as features_module
from offsite.retina.linear.features import TrunkFeatures
from offsite.retina.linear.fitting import trunk_network
from offsite.retina.linear.settings import LinearSettings
from offsite.retina.photographs.of_run import select_photographs
from offsite.retina.settings import RetinaSettings
from offsite.retina.training import train_retina
from offsite.retina.validation import grading_scores
from offsite.training.heads.ridge import site_weights
from offsite.training.heads.site_sums import SiteSums
from offsite.training.heads.sums import fit_grades
from offsite.training.run_folder import SUMS
from offsite.training.trunk.settings import TrunkReadingSettings

SETTINGS = RetinaSettings.model_validate(
    {"method": "linear", "backbone": {"stages": "late"}, "linear": {"copies": 2}}
)


@pytest.fixture(scope="module")
def run(prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "linear"
    return folder, train_retina(prepared.split("corran"), prepared.folder, SETTINGS, folder)


def facts(folder):
    return json.loads((folder / "run.json").read_text())["facts"]


def network(folder):
    return load_fundus_model(folder / "weights.safetensors", facts(folder)["architecture"])


def test_a_run_writes_what_later_stages_read(run, prepared):
    folder, table = run
    assert {path.name for path in folder.iterdir()} >= {
        "settings.json", "splits.parquet", "weights.safetensors", "run.json", "fit.json", SUMS,
        "curves.jsonl",
        "predictions.parquet", "embeddings.npy", "logits.npy", "excluded.csv",
    }  # fmt: skip
    assert np.load(folder / "embeddings.npy").shape == (len(table), 1024)
    assert table["image"].tolist() == prepared.cohort.table["image"].tolist()
    assert facts(folder)["penalty"] in SETTINGS.linear.penalties


def test_features_and_answers_are_equal_however_they_come(run, prepared):
    folder, table = run
    photographs = select_photographs(prepared.split("corran"), prepared.folder, 1.0)
    loaded = network(folder)
    graded = grade(loaded, photographs.store.pixels, 9, batch=3)
    np.testing.assert_allclose(graded.embeddings, np.load(folder / "embeddings.npy")[:9], atol=1e-4)
    np.testing.assert_allclose(graded.logits, np.load(folder / "logits.npy")[:9], atol=1e-3)
    mapped = grade_with_maps(loaded, photographs.store.pixels(np.arange(4)))
    np.testing.assert_allclose(mapped.logits, graded.logits[:4], atol=1e-3)
    names = [f"prob_{name}" for name in GRADES]
    np.testing.assert_allclose(graded.probabilities, table[names].to_numpy()[:9], atol=1e-4)


def test_it_learns_from_few_photographs(run):
    folder, table = run
    labels = table["label"].map({name: n for n, name in enumerate(GRADES)}).to_numpy()
    chosen = (table["split"] == "train").to_numpy()
    scores = grading_scores(np.load(folder / "logits.npy")[chosen], labels[chosen])
    assert scores["kappa"] > 0.5


def test_the_head_is_the_ridge_of_the_sums_that_the_run_keeps(run):
    from safetensors.numpy import load_file

    folder, table = run
    by_site = SiteSums.from_arrays(load_file(folder / SUMS), facts(folder)["sites_of_sums"])
    sums = by_site.weighted()
    assert sums.weights.sum() == pytest.approx(1)
    trained = table[table["split"] == "train"]
    for site, part in zip(by_site.sites, by_site.parts, strict=True):
        counts = trained.loc[trained["site"] == site, "label"].value_counts()
        np.testing.assert_allclose(part.weights, [counts.get(name, 0) for name in GRADES])
    slope, start = fit_grades(sums, [facts(folder)["penalty"]])[0]
    head = network(folder).classifier.grade_of
    np.testing.assert_allclose(head.weight.detach().numpy()[0], slope, atol=1e-6)
    assert float(head.bias.detach()[0]) == pytest.approx(start, abs=1e-5)


def test_a_held_out_site_changes_nothing_of_the_head(run, prepared, tmp_path):
    folder, _ = run
    cohort = prepared.split("corran")
    table = cohort.table.copy()
    table.loc[table["site"] == "corran", "label"] = GRADES[-1]
    other = tmp_path / "other"
    train_retina(cohort.with_table(table), prepared.folder, SETTINGS, other)
    assert (other / "weights.safetensors").read_bytes() == (
        folder / "weights.safetensors"
    ).read_bytes()


def test_the_trunk_reads_each_photograph_once_for_all_runs(run, prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(TrunkFeatures, "_read", lambda *_: pytest.fail("read again"))
    table = train_retina(prepared.split("corran"), prepared.folder, SETTINGS, tmp_path / "again")
    pd.testing.assert_frame_equal(table, run[1])


def test_a_head_learnt_in_rounds_answers_by_class_and_is_loaded_again(run, prepared, tmp_path):
    with_rounds = {"copies": 1, "rich": {"passes": 8}}
    rich = RetinaSettings.model_validate(
        {"method": "linear", "backbone": {"stages": "late"}, "linear": with_rounds}
    )
    folder = tmp_path / "rich"
    table = train_retina(prepared.split("corran"), prepared.folder, rich, folder)
    assert facts(folder)["rounds"] == 3
    assert facts(folder)["architecture"]["head"] == "classes"
    logits, embeddings = np.load(folder / "logits.npy"), np.load(folder / "embeddings.npy")
    weights = network(folder).classifier
    by_hand = embeddings @ weights.weight.detach().numpy().T + weights.bias.detach().numpy()
    np.testing.assert_allclose(by_hand, logits, atol=1e-3)
    assert np.linalg.matrix_rank(logits - logits.mean(1, keepdims=True), tol=1e-2) > 1  # no grade
    labels = table["label"].map({name: n for n, name in enumerate(GRADES)}).to_numpy()
    trained = (table["split"] == "train").to_numpy()
    assert grading_scores(logits[trained], labels[trained])["kappa"] > 0.5
    assert (folder / SUMS).is_file()  # of the trunk's rows, for how unlike a new case is


def test_a_killed_reading_goes_on_to_the_same_features(prepared, tmp_path, monkeypatch):
    cohort = prepared.split("corran")
    photographs = select_photographs(cohort, prepared.folder, 1.0)
    loaded, digest = trunk_network(TrunkReadingSettings(stages="last"), 5, None)
    wanted = [(row, copy) for row in range(12) for copy in (0, 2)]
    whole = TrunkFeatures(tmp_path / "whole", loaded.reader, digest).rows(photographs, wanted)
    monkeypatch.setattr(features_module, "BLOCK", 5)
    cut = TrunkFeatures(tmp_path / "cut", loaded.reader, digest)
    read = cut._read
    calls = []

    def killed(photographs, part):
        calls.append(len(part))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return read(photographs, part)

    monkeypatch.setattr(cut, "_read", killed)
    with pytest.raises(KeyboardInterrupt):
        cut.rows(photographs, wanted)
    found = TrunkFeatures(tmp_path / "cut", loaded.reader, digest).rows(photographs, wanted)
    np.testing.assert_allclose(found, whole, atol=1e-4)
    assert calls == [5, 5, 5]


def test_a_damaged_file_of_features_is_made_anew(prepared, tmp_path):
    photographs = select_photographs(prepared.split("corran"), prepared.folder, 1.0)
    loaded, digest = trunk_network(TrunkReadingSettings(stages="last"), 5, None)
    kept = TrunkFeatures(tmp_path, loaded.reader, digest)
    first = kept.rows(photographs, [(0, 0), (1, 0)])
    kept.file.write_bytes(kept.file.read_bytes()[:100])
    np.testing.assert_array_equal(kept.rows(photographs, [(0, 0), (1, 0)]), first)
    with h5py.File(kept.file) as file:
        assert file["features"].shape == (2, 1632)  # of all stages, whatever was asked
    kept.file.write_bytes(b"a year's work")
    with pytest.raises(InputError) as caught:
        kept.rows(photographs, [(0, 0)])
    assert caught.value.code == "not_ours"
    assert kept.file.read_bytes() == b"a year's work"


@pytest.mark.parametrize("reading", [{"stages": "last"}, {"stages": ("stage2", "stem")},
                                     {"stages": "late", "statistics": ("deviation",)}])  # fmt: skip
def test_a_run_of_fewer_stages_takes_its_columns_of_what_was_read(
    reading, prepared, tmp_path, monkeypatch
):
    photographs = select_photographs(prepared.split("corran"), prepared.folder, 1.0)
    loaded, digest = trunk_network(TrunkReadingSettings(region="disc"), 5, None)
    TrunkFeatures(tmp_path, loaded.reader, digest).rows(photographs, [(0, 0), (1, 0)])
    monkeypatch.setattr(TrunkFeatures, "_read", lambda *_: pytest.fail("read again"))
    less, _ = trunk_network(TrunkReadingSettings(region="disc", **reading), 5, None)
    found = TrunkFeatures(tmp_path, less.reader, digest).rows(photographs, [(1, 0)])
    alone = grade(less, photographs.store.pixels, 2).embeddings[1:]
    np.testing.assert_allclose(found, alone, atol=1e-5)


def test_evidence_adds_up_to_the_answer_where_the_grade_is_linear(run, prepared):
    """The maps' mean is the embedding, so a place's evidence is its part of the answer."""
    folder, _ = run
    photographs = select_photographs(prepared.split("corran"), prepared.folder, 1.0)
    loaded = network(folder)
    graded = grade_with_maps(loaded, photographs.store.pixels(np.arange(3)))
    np.testing.assert_allclose(graded.maps.mean(axis=(2, 3)), graded.embeddings, atol=1e-4)
    evidence = evidence_maps(loaded.classifier, graded.embeddings, graded.maps, [2, 3, 4])
    assert evidence.shape == (3, *graded.maps.shape[2:])
    assert np.isfinite(evidence).all()


def test_sites_of_many_photographs_weigh_less_by_the_exponent():
    sites = np.array([0] * 4 + [1] * 16)
    assert site_weights(sites, 0.0)[0] == pytest.approx(site_weights(sites, 0.0)[-1])
    half = site_weights(sites, 0.5)
    assert half[0] / half[-1] == pytest.approx(2)


def test_too_few_patients_to_leave_some_out_are_refused(prepared, tmp_path):
    few = SETTINGS.model_copy(update={"linear": LinearSettings(folds=20)})
    cohort = prepared.split("corran")
    table = cohort.table.copy()
    table["patient"] = "p" + (np.arange(len(table)) % 6).astype(str)
    table["split"] = np.where(table["site"] == "corran", "test", "train")
    with pytest.raises(InputError, match=r"linear\.folds") as caught:
        train_retina(cohort.with_table(table), prepared.folder, few, tmp_path / "run")
    assert caught.value.code == "too_few_patients"


@pytest.mark.parametrize("wrong", [{"penalties": (1.0, 0.1)}, {"penalties": (0.0, 1.0)},
                                   {"penalties": ()}, {"folds": 1}, {"copies": -1}])  # fmt: skip
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        LinearSettings(**wrong)
