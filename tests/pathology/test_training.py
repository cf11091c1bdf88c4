import json

import numpy as np
import pandas as pd
import pytest
import torch
from slides_on_disk import CLASSES, ORIGIN, make

from offsite.errors import InputError
from offsite.pathology.features.file import (
    SlideFeatures,
    feature_path,
    write_features,
)
from offsite.pathology.inference import load_slide_model, predict_bag
from offsite.pathology.settings import PathologySettings
from offsite.pathology.slides_of_run import select_slides
from offsite.pathology.training import _fit_settings, batch_source, train_pathology
from offsite.pathology.validation import validation_scores
from offsite.preprocessing.cohort.table import Cohort


def settings(method="sc_mil", epochs=6, **changes):
    given = {
        "method": method, "batch_size": 8, "instances": 16,
        "model": {"aggregator": {"width": 16, "attention_width": 8}},
        "fit": {"epochs": epochs, "learning_rate": 0.02, "device": "cpu", "prefetch": 0},
    }  # fmt: skip
    return PathologySettings.model_validate(given | changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="module")
def cohort(folder):
    return make(folder)


@pytest.fixture(scope="module")
def run(cohort, folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    return path, train_pathology(cohort, folder, settings(), path)


def test_a_run_learns_and_writes_the_contract_s_files(run, cohort):
    path, table = run
    assert table["slide"].tolist() == cohort.table["slide"].tolist()
    columns = ["image", "slide", "patient", "site", "site_role", "split", "label"]
    assert list(table.columns) == [*columns, "prob_normal", "prob_tumour"]
    np.testing.assert_allclose(table[["prob_normal", "prob_tumour"]].sum(axis=1), 1, atol=1e-9)
    test = table[table["split"] == "test"]
    right = (test["prob_tumour"] > 0.5) == (test["label"] == "tumour")
    assert right.mean() > 0.9
    assert np.load(path / "embeddings.npy").shape == (48, 16)
    logits = np.load(path / "logits.npy")
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(softmax[:, 1], table["prob_tumour"], atol=1e-6)
    record = json.loads((path / "run.json").read_text())
    assert (record["status"], record["facts"]["slides_predicted"]) == ("done", 48)
    assert "projection.0.weight" not in json.dumps(record)
    assert len((path / "curves.jsonl").read_text().splitlines()) == 6


def test_with_few_validation_patients_the_last_epoch_is_kept_and_said_to_be(run):
    facts = json.loads((run[0] / "run.json").read_text())["facts"]
    assert (facts["selected_epoch"], facts["epochs"]) == (5, 6)
    assert facts["selected_because"] == "too few to compare epochs"
    assert "(normal 4, tumour 2)" in facts["selection_note"]
    assert (
        json.loads((run[0] / "fit.json").read_text())["result"]["note"] == facts["selection_note"]
    )


def test_epochs_are_compared_from_the_first_or_once_the_classifier_leads(cohort, folder, tmp_path):
    def first_open(classifier):
        given = settings(model={"contrast": {"classifier": classifier}})
        fit_settings = _fit_settings(given)
        return next(epoch for epoch in range(6) if fit_settings.selectable(epoch))

    assert (first_open("always"), first_open("handed_over")) == (0, 2)
    compared = settings()
    compared = compared.model_copy(
        update={"fit": compared.fit.model_copy(update={"fewest_validated": 1, "patience": 1})}
    )
    train_pathology(cohort, folder, compared, tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "run.json").read_text())["facts"]
    assert facts["selected_because"] == "best"
    losses = [
        json.loads(line)["scores"]["loss"]
        for line in (tmp_path / "run" / "curves.jsonl").read_text().splitlines()
    ]
    assert facts["selected_epoch"] == int(np.argmin(losses))
    if facts["epochs"] < 6:  # patience saw the loss rise
        assert facts["epochs"] == facts["selected_epoch"] + 2


def test_the_packaged_weights_predict_what_the_run_predicted(run, cohort, folder):
    from offsite.pathology.features.file import read_features

    path, table = run
    facts = json.loads((path / "run.json").read_text())["facts"]
    model = load_slide_model(path / "weights.safetensors", facts["architecture"])
    for number in (0, 7, 30):
        features = read_features(feature_path(folder, table["slide"][number])).features
        whole = predict_bag(model, features)
        streamed = predict_bag(model, features, max_rows=3)
        assert whole.probabilities[1] == pytest.approx(table["prob_tumour"][number], abs=1e-6)
        np.testing.assert_allclose(streamed.logits, whole.logits, atol=1e-5)
        np.testing.assert_allclose(streamed.attention, whole.attention, atol=1e-5)


def test_a_finished_run_is_read_back_and_other_settings_begin_anew(run, cohort, folder):
    path, table = run
    stamp = (path / "weights.safetensors").stat().st_mtime_ns
    pd.testing.assert_frame_equal(train_pathology(cohort, folder, settings(), path), table)
    assert (path / "weights.safetensors").stat().st_mtime_ns == stamp
    other = train_pathology(cohort, folder, settings(), path.with_name("again"))
    pd.testing.assert_frame_equal(other, table)  # the same to the last bit
    changed = train_pathology(cohort, folder, settings(epochs=2), path.with_name("again"))
    assert not np.allclose(changed["prob_tumour"], table["prob_tumour"])


def carried_out_otherwise(**fit):
    """The settings of `run`, with others that no result depends on."""
    given = settings().model_dump()
    given["fit"] |= {"prefetch": 3, "checkpoint_every_seconds": 5.0, **fit}
    return PathologySettings.model_validate(given | {"resident_gib": 0.0})


def test_a_run_is_the_same_however_it_is_carried_out(run, cohort, folder):
    path, table = run
    stamp = (path / "weights.safetensors").stat().st_mtime_ns
    again = train_pathology(cohort, folder, carried_out_otherwise(), path)
    pd.testing.assert_frame_equal(again, table)
    assert (path / "weights.safetensors").stat().st_mtime_ns == stamp


def test_a_run_cut_off_in_mid_epoch_ends_with_the_same_weights(
    run, cohort, folder, tmp_path, monkeypatch
):
    from offsite.pathology.bags import BagLoader

    class Killed(BaseException):
        pass

    drawn = []
    original = BagLoader.training_batch

    def cut(self, indices, epoch, times):
        drawn.append(epoch)
        if len(drawn) == 11:
            raise Killed
        return original(self, indices, epoch, times)

    often = settings().model_dump()
    often["fit"]["checkpoint_every_steps"] = 1
    often = PathologySettings.model_validate(often)
    monkeypatch.setattr(BagLoader, "training_batch", cut)
    with pytest.raises(Killed):
        train_pathology(cohort, folder, often, tmp_path / "run")
    before = len(drawn)
    otherwise = carried_out_otherwise(checkpoint_every_steps=3, prefetch=0)
    resumed = train_pathology(cohort, folder, otherwise, tmp_path / "run")
    assert drawn[before] == drawn[before - 1]  # it went on, and did not begin again
    pd.testing.assert_frame_equal(resumed, run[1])


def test_slides_without_features_are_excluded_with_the_reason(cohort, folder, tmp_path):
    lost = cohort.table["slide"].tolist()[-2:]
    part = tmp_path / "features"
    part.mkdir()
    for path in folder.glob("*.h5"):
        if path.stem not in lost:
            (part / path.name).write_bytes(path.read_bytes())
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
    part = tmp_path / "features"
    part.mkdir()
    for path in folder.glob("*.h5"):
        (part / path.name).write_bytes(path.read_bytes())
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
    part = tmp_path / "features"
    part.mkdir()
    for path in folder.glob("*.h5"):
        (part / path.name).write_bytes(path.read_bytes())
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


def test_held_out_sites_and_test_slides_do_not_reach_the_weights(run, cohort, folder, tmp_path):
    """Other features on every slide that is not for training or selection: the same weights."""
    part = tmp_path / "features"
    part.mkdir()
    rng = np.random.default_rng(9)
    unseen = cohort.table[cohort.table["split"] == "test"]["slide"].tolist()
    for path in folder.glob("*.h5"):
        (part / path.name).write_bytes(path.read_bytes())
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


def test_unlabelled_slides_are_predicted_but_not_trained_on(cohort, folder, tmp_path):
    blank = cohort.table.copy()
    blank.loc[blank["patient"] == "p0", "label"] = ""
    table = train_pathology(cohort.with_table(blank), folder, settings(epochs=1), tmp_path / "run")
    assert len(table) == 48
    assert table.loc[table["patient"] == "p0", "prob_tumour"].between(0, 1).all()
    facts = json.loads((tmp_path / "run" / "run.json").read_text())["facts"]
    assert sum(facts["training_bags"]) == (blank["split"].eq("train") & blank["label"].ne("")).sum()


@pytest.mark.parametrize("pooling", ["patient_union", "patient_late"])
def test_a_patient_s_slides_share_one_answer(pooling, cohort, folder, tmp_path):
    table = train_pathology(cohort, folder, settings(epochs=2, pooling=pooling), tmp_path / "run")
    assert table.groupby("patient")["prob_tumour"].nunique().eq(1).all()
    facts = json.loads((tmp_path / "run" / "run.json").read_text())["facts"]
    per_patient = pooling == "patient_union"
    assert facts["pooling"] == pooling
    n_train = cohort.table[cohort.table["split"] == "train"]
    expected = n_train["patient"].nunique() if per_patient else len(n_train)
    assert sum(facts["training_bags"]) == expected


def test_a_patient_s_answer_is_judged_by_the_patient_s_label(cohort, folder, tmp_path):
    """Of a tumour patient's two slides, one shows nothing."""
    table = cohort.table.copy()
    table.loc[table["slide"] == "p0-1", "label"] = "normal"
    mixed = cohort.with_table(table)
    for pooling in ("patient_union", "patient_late"):
        path = tmp_path / pooling
        found = train_pathology(mixed, folder, settings(epochs=1, pooling=pooling), path)
        own = found[found["patient"] == "p0"]
        assert own["label"].tolist() == ["tumour", "tumour"]
        assert own["slide_label"].tolist() == ["tumour", "normal"]
    by_slide = train_pathology(mixed, folder, settings(epochs=1), tmp_path / "slide")
    assert by_slide.set_index("slide").loc["p0-1", "label"] == "normal"
    assert "slide_label" not in by_slide


@pytest.mark.parametrize("pooling", ["patient_union", "patient_late"])
def test_a_patient_keeps_its_label_without_the_slide_that_gives_it(
    pooling, cohort, folder, tmp_path
):
    table = cohort.table.copy()
    table.loc[table["slide"] == "p0-1", "label"] = "normal"
    part = tmp_path / "features"
    part.mkdir()
    for path in folder.glob("*.h5"):
        if path.stem != "p0-0":
            (part / path.name).write_bytes(path.read_bytes())
    chosen, run = settings(epochs=1, pooling=pooling), tmp_path / "run"
    found = train_pathology(cohort.with_table(table), part, chosen, run)
    assert found.set_index("slide").loc["p0-1", "label"] == "tumour"
    excluded = pd.read_csv(run / "excluded.csv").set_index("slide")
    facts = json.loads((run / "run.json").read_text())["facts"]
    train = table[table["split"] == "train"]
    assert facts["slides_excluded"] == 1
    if pooling == "patient_union":  # what is left of the patient need not show the tumour
        row = excluded.loc["p0-1", ["status", "code"]]
        assert row.tolist() == ["not_trained_on", "decisive_slide_missing"]
        assert sum(facts["training_bags"]) == train["patient"].nunique() - 1
    else:
        assert excluded.index.tolist() == ["p0-0"]
        assert sum(facts["training_bags"]) == len(train) - 1


def test_a_validation_set_that_lacks_a_class_is_said_to(run, cohort, folder, tmp_path, caplog):
    table = cohort.table.copy()
    table.loc[(table["split"] == "val") & (table["label"] == "tumour"), "label"] = ""
    train_pathology(cohort.with_table(table), folder, settings(epochs=1), tmp_path / "run")
    assert "no validation item is of class tumour" in caplog.text
    lacking = [
        json.loads((path / "run.json").read_text())["facts"]["classes_not_validated"]
        for path in (tmp_path / "run", run[0])
    ]
    assert lacking == [["tumour"], []]


def test_late_fusion_is_the_mean_of_the_slides(run, cohort, folder, tmp_path):
    late = train_pathology(cohort, folder, settings(pooling="patient_late"), tmp_path / "run")
    expected = run[1].groupby("patient")["prob_tumour"].transform("mean")
    np.testing.assert_allclose(late["prob_tumour"], expected, atol=1e-9)


def test_a_memory_mapped_store_trains_to_the_same_predictions(run, cohort, folder, tmp_path):
    mapped = settings(resident_gib=0.0)
    table = train_pathology(cohort, folder, mapped, tmp_path / "run")
    pd.testing.assert_frame_equal(table, run[1])


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


def test_a_class_without_training_slides_is_named(cohort, folder, tmp_path):
    table = cohort.table[(cohort.table["label"] == "normal") | (cohort.table["split"] == "test")]
    with pytest.raises(InputError, match="tumour"):
        train_pathology(cohort.with_table(table), folder, settings(), tmp_path / "run")


def test_settings_that_do_not_fit_together_are_refused_before_anything_is_read(cohort, tmp_path):
    with pytest.raises(ValueError, match="multiple of 3 heads"):
        PathologySettings.model_validate(
            {"model": {"aggregator": {"name": "transformer", "width": 16, "heads": 3}}}
        )
    narrow = settings("sc_mil_prototypes", model={"contrast": {"projection": 2}})
    softmax = {"loss": {"kind": "balanced_softmax"}}
    three = Cohort(table=cohort.table, classes=(*CLASSES, "other"), path=cohort.path)
    for chosen, code in (
        (narrow, "narrow_projection"),
        (settings("sc_mil", model=softmax), "corrected_twice"),
        (settings("two_stage", model=softmax), "corrected_twice"),
        (settings("focal", model=softmax), "loss_decided"),
        (settings("two_stage", epochs=1), "too_few_epochs"),
        (settings().model_copy(update={"method": "unheard"}), "unknown_method"),
    ):
        with pytest.raises(InputError) as caught:
            train_pathology(three, tmp_path / "no features", chosen, tmp_path / "run")
        assert caught.value.code == code
    assert not (tmp_path / "run").exists()


def test_weights_of_another_network_are_refused(run, tmp_path):
    from safetensors.torch import save_file

    facts = json.loads((run[0] / "run.json").read_text())["facts"]
    save_file({"centre": torch.zeros(5)}, tmp_path / "weights.safetensors")
    with pytest.raises(InputError) as caught:
        load_slide_model(tmp_path / "weights.safetensors", facts["architecture"])
    assert caught.value.code == "foreign_weights"


def test_validation_weighs_classes_equally_and_names_what_is_undefined():
    logits = np.log(np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.6, 0.4]]))
    scores = validation_scores(logits, np.array([0, 0, 0, 1]), 2)
    assert scores["loss"] == pytest.approx(-(np.log(0.9) + np.log(0.4)) / 2)
    assert scores["balanced_accuracy"] == 0.5
    assert scores["macro_auroc"] == 1.0
    assert scores["macro_f1"] == pytest.approx(3 / 7)
    assert validation_scores(logits, np.zeros(4, int), 2)["macro_auroc"] is None


def test_the_sites_of_training_bags_are_numbered_and_held_out_ones_are_not(cohort, folder):
    slides = select_slides(cohort, folder, "slide", resident_gib=1)
    sites = slides.table["site"].to_numpy()
    assert set(sites[slides.bags.sites == 0]) == {"east"}
    assert set(sites[slides.bags.sites == 1]) == {"west"}
    assert set(sites[slides.bags.sites == -1]) == {"held"}
    batch = next(iter(batch_source(slides, settings()).batches(0)))
    assert set(batch.sites.tolist()) <= {0, 1}
    assert len(batch.sites) == len(batch.labels)
