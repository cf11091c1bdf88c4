"""A run on whitened instances is the same however it is carried out, and says what it reads."""

import json

import numpy as np
import pandas as pd
import pytest
from slides_on_disk import Killed, killed_at, make

from offsite.pathology.inference import load_slide_model, predict_bag
from offsite.pathology.settings import PathologySettings
from offsite.pathology.training import train_pathology


def settings(inputs="whitened", *, resident_gib=4.0, **fit):
    return PathologySettings.model_validate(
        {
            "batch_size": 8, "instances": 16, "resident_gib": resident_gib,
            "model": {
                "aggregator": {"width": 16, "attention_width": 8}, "inputs": inputs, "directions": 3,
            },
            "fit": {"epochs": 3, "learning_rate": 0.02, "device": "cpu", "prefetch": 0, **fit},
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whitened")
    return make(folder), folder


@pytest.fixture(scope="module")
def run(made, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    return path, train_pathology(*made, settings(), path)


def test_a_run_says_what_it_reads_and_keeps_it_with_the_weights(run):
    path, table = run
    facts = json.loads((path / "run.json").read_text())["facts"]
    assert facts["inputs"]["inputs"] == "whitened"
    assert facts["inputs"]["directions"] == 3
    assert 0 < facts["inputs"]["explained"] < 1
    model = load_slide_model(path / "weights.safetensors", facts["architecture"])
    assert model.directions.shape[0] == 3
    assert len(table) == facts["slides_predicted"]


def test_a_run_cut_off_and_gone_on_with_from_a_mapped_store_is_the_same_to_the_last_bit(
    run, made, tmp_path, monkeypatch
):
    drawn = killed_at(monkeypatch, 9)
    with pytest.raises(Killed):
        train_pathology(*made, settings(checkpoint_every_steps=1), tmp_path / "run")
    mapped = settings(resident_gib=0.0, checkpoint_every_steps=4, prefetch=2)
    resumed = train_pathology(*made, mapped, tmp_path / "run")
    assert drawn[9] == drawn[8] > 0  # it went on, and did not begin again
    pd.testing.assert_frame_equal(resumed, run[1])
    weights = [(path / "weights.safetensors").read_bytes() for path in (run[0], tmp_path / "run")]
    assert weights[0] == weights[1]


def test_a_slide_read_in_chunks_gets_the_run_s_answer(run, made):
    from offsite.pathology.features.file import feature_path, read_features

    path, table = run
    facts = json.loads((path / "run.json").read_text())["facts"]
    model = load_slide_model(path / "weights.safetensors", facts["architecture"])
    rows = read_features(feature_path(made[1], table["slide"][7])).features
    for most in (None, 3):
        found = predict_bag(model, rows, **({} if most is None else {"max_rows": most}))
        np.testing.assert_allclose(found.probabilities[1], table["prob_tumour"][7], atol=1e-6)
