"""A run of slides: what it writes, that it is the same however it is carried out, what it refuses."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from slides_on_disk import CLASSES, Killed, killed_at, settings

from offsite.errors import InputError
from offsite.pathology.features.file import feature_path
from offsite.pathology.inference import load_slide_model, predict_bag
from offsite.pathology.settings import PathologySettings
from offsite.pathology.training import train_pathology
from offsite.preprocessing.cohort.table import Cohort


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
    often = settings(fit={"checkpoint_every_steps": 1})
    drawn = killed_at(monkeypatch, 11)
    with pytest.raises(Killed):
        train_pathology(cohort, folder, often, tmp_path / "run")
    before = len(drawn)
    otherwise = carried_out_otherwise(checkpoint_every_steps=3, prefetch=0)
    resumed = train_pathology(cohort, folder, otherwise, tmp_path / "run")
    assert drawn[before] == drawn[before - 1]  # it went on, and did not begin again
    pd.testing.assert_frame_equal(resumed, run[1])


def test_a_memory_mapped_store_trains_to_the_same_predictions(run, cohort, folder, tmp_path):
    mapped = settings(resident_gib=0.0)
    table = train_pathology(cohort, folder, mapped, tmp_path / "run")
    pd.testing.assert_frame_equal(table, run[1])


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
        (settings("sc_mil", model=softmax), "loss_decided"),
        (settings("sc_mil_balanced", model=softmax), "corrected_twice"),
        (settings("two_stage", model=softmax), "corrected_twice"),
        (settings("sc_mil", sampler={"exponent": 0.0}), "corrected_twice"),
        (settings("sc_mil", sampler={"by": "site", "exponent": 0.0}), None),
        (settings("sc_mil_balanced", sampler={"by": "site"}, model=softmax), None),
        (settings("focal", model=softmax), "loss_decided"),
        (settings("two_stage", epochs=1), "too_few_epochs"),
        (settings().model_copy(update={"method": "unheard"}), "unknown_method"),
    ):
        with pytest.raises(InputError) as caught:
            train_pathology(three, tmp_path / "no features", chosen, tmp_path / "run")
        assert caught.value.code == (code or "no_features")
    assert not (tmp_path / "run").exists()


def test_weights_of_another_network_are_refused(run, tmp_path):
    from safetensors.torch import save_file

    facts = json.loads((run[0] / "run.json").read_text())["facts"]
    save_file({"centre": torch.zeros(5)}, tmp_path / "weights.safetensors")
    with pytest.raises(InputError) as caught:
        load_slide_model(tmp_path / "weights.safetensors", facts["architecture"])
    assert caught.value.code == "foreign_weights"
