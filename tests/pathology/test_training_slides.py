"""Which slides a run trains on, which it predicts, and what is said of the others."""

import json

import numpy as np
import pandas as pd
import pytest
from slides_on_disk import ORIGIN, copied, settings

from offsite.errors import InputError
from offsite.pathology.features.file import SlideFeatures, feature_path, write_features
from offsite.pathology.slides_of_run import select_slides
from offsite.pathology.training import batch_source, train_pathology


def test_slides_without_features_are_excluded_with_the_reason(cohort, folder, tmp_path):
    lost = cohort.table["slide"].tolist()[-2:]
    part = copied(folder, tmp_path / "features", without=lost)
    reasons = pd.DataFrame(
        {"slide": lost[:1], "status": ["no_tiles"], "code": ["no_tissue"], "message": ["Glass"]}
    )
    reasons.to_csv(part / "features.csv", index=False)
    table = train_pathology(cohort, part, settings(epochs=1), tmp_path / "run")
    assert len(table) == 46
    excluded = pd.read_csv(tmp_path / "run" / "excluded.csv")
    assert excluded["slide"].tolist() == lost
    assert excluded["code"].tolist() == ["no_tissue", "not_embedded"]


def test_a_file_that_cannot_be_used_is_excluded_with_what_is_wrong_with_it(
    cohort, folder, tmp_path
):
    part = copied(folder, tmp_path / "features")
    damaged, empty = cohort.table["slide"].tolist()[-2:]
    file = part / f"{damaged}.h5"
    file.write_bytes(file.read_bytes()[:600])
    nothing = np.empty((0, 5), np.float16)
    write_features(
        feature_path(part, empty),
        SlideFeatures(features=nothing, coords=np.empty((0, 2), np.int64), origin=ORIGIN),
    )
    train_pathology(cohort, part, settings(epochs=1), tmp_path / "run")
    excluded = pd.read_csv(tmp_path / "run" / "excluded.csv").set_index("slide")
    assert excluded["status"].to_dict() == {damaged: "failed", empty: "no_tiles"}
    assert excluded["code"].to_dict() == {damaged: "bad_feature_file", empty: "no_tiles"}
    assert "cannot be read as HDF5" in excluded.loc[damaged, "message"]


def test_features_that_were_made_and_are_damaged_stop_the_run(cohort, folder, tmp_path):
    part = copied(folder, tmp_path / "features")
    slide = cohort.table["slide"].iloc[0]
    said = pd.DataFrame({"slide": [slide], "status": ["embedded"], "code": [""], "message": [""]})
    said.to_csv(part / "features.csv", index=False)
    file = part / f"{slide}.h5"
    file.write_bytes(file.read_bytes()[:600])
    with pytest.raises(InputError, match=rf"{file.name}.*offsite workflow embed"):
        train_pathology(cohort, part, settings(epochs=1), tmp_path / "run")
    file.unlink()
    with pytest.raises(InputError, match=rf"{file.name}.*offsite workflow embed"):
        train_pathology(cohort, part, settings(epochs=1), tmp_path / "run")


def test_unlabelled_slides_are_predicted_but_not_trained_on(cohort, folder, tmp_path):
    blank = cohort.table.copy()
    blank.loc[blank["patient"] == "p0", "label"] = ""
    table = train_pathology(cohort.with_table(blank), folder, settings(epochs=1), tmp_path / "run")
    assert len(table) == 48
    assert table.loc[table["patient"] == "p0", "prob_tumour"].between(0, 1).all()
    facts = json.loads((tmp_path / "run" / "run.json").read_text())["facts"]
    assert sum(facts["training_bags"]) == (blank["split"].eq("train") & blank["label"].ne("")).sum()


def test_the_sites_of_training_bags_are_numbered_and_held_out_ones_are_not(cohort, folder):
    slides = select_slides(cohort, folder, "slide", resident_gib=1)
    sites = slides.table["site"].to_numpy()
    assert set(sites[slides.bags.sites == 0]) == {"east"}
    assert set(sites[slides.bags.sites == 1]) == {"west"}
    assert set(sites[slides.bags.sites == -1]) == {"held"}
    batch = next(iter(batch_source(slides, settings()).batches(0)))
    assert set(batch.sites.tolist()) <= {0, 1}
    assert len(batch.sites) == len(batch.labels)


def test_a_class_without_training_slides_is_named(cohort, folder, tmp_path):
    table = cohort.table[(cohort.table["label"] == "normal") | (cohort.table["split"] == "test")]
    with pytest.raises(InputError, match="tumour"):
        train_pathology(cohort.with_table(table), folder, settings(), tmp_path / "run")


def test_only_the_first_of_several_processes_packs_the_store(cohort, folder, tmp_path, monkeypatch):
    from offsite.training.devices import distributed

    class Reached(BaseException):
        pass

    def waiting():
        raise Reached

    monkeypatch.setattr(distributed, "rank_and_world", lambda: (1, 2))
    monkeypatch.setattr(distributed, "wait_for_all", waiting)
    monkeypatch.setattr(
        "offsite.pathology.training.select_slides", lambda *given: pytest.fail("packed")
    )
    with pytest.raises(Reached):
        train_pathology(cohort, folder, settings(resident_gib=0.0), tmp_path / "run")


def test_held_out_sites_and_test_slides_do_not_reach_the_weights(run, cohort, folder, tmp_path):
    """Other features on every slide that is not for training or selection: the same weights."""
    part = copied(folder, tmp_path / "features")
    rng = np.random.default_rng(9)
    unseen = cohort.table[cohort.table["split"] == "test"]["slide"].tolist()
    for slide in unseen:
        features = rng.normal(size=(11, 5)).astype(np.float16)
        coords = np.zeros((11, 2), np.int64)
        write_features(
            feature_path(part, slide),
            SlideFeatures(features=features, coords=coords, origin=ORIGIN),
        )
    table = train_pathology(cohort, part, settings(), tmp_path / "run")
    seen = ~table["slide"].isin(unseen)
    pd.testing.assert_frame_equal(table[seen], run[1][seen])
