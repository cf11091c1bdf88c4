"""A frozen trunk runs once; its head is trained by any method that asks for features alone."""

import json

import numpy as np
import pytest
from pydantic import ValidationError

from offsite.errors import InputError
from offsite.preprocessing.synthetic.fundus.sites import GRADES
from offsite.retina.inference import grade, grade_with_maps, load_fundus_model
from offsite.retina.linear.features import TrunkFeatures
from offsite.retina.methods import ON_FEATURES
from offsite.retina.photographs.of_run import select_photographs
from offsite.retina.settings import BackboneSettings, RetinaSettings
from offsite.retina.training import train_retina
from offsite.retina.validation import grading_scores
from offsite.training.trunk.network import folded_state
from offsite.training.trunk.weights import trunk_state


def settings(method="erm", **more):
    return RetinaSettings.model_validate(
        {
            "method": method, "batch_size": 16, "linear": {"copies": 1},
            "backbone": {"name": "efficientnet-lite0", "frozen": True, "stages": "late"},
            "fit": {"epochs": 8, "learning_rate": 3e-3, "device": "cpu", "prefetch": 0}, **more,
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "frozen"
    return folder, train_retina(prepared.split("corran"), prepared.folder, settings(), folder)


def network(folder):
    architecture = json.loads((folder / "run.json").read_text())["facts"]["architecture"]
    return load_fundus_model(folder / "weights.safetensors", architecture)


def test_the_head_learns_and_the_trunk_stays_as_it_came(run):
    folder, table = run
    labels = table["label"].map({name: n for n, name in enumerate(GRADES)}).to_numpy()
    chosen = (table["split"] == "train").to_numpy()
    scores = grading_scores(np.load(folder / "logits.npy")[chosen], labels[chosen])
    assert scores["kappa"] > 0.5
    kept, wanted = network(folder).state_dict(), folded_state(trunk_state())
    for name, tensor in wanted.items():
        np.testing.assert_array_equal(kept[f"backbone.net.net.{name}"], tensor)


def test_a_photograph_is_answered_alike_from_its_file_and_from_what_was_read(run, prepared):
    folder, _ = run
    photographs = select_photographs(prepared.split("corran"), prepared.folder, 1.0)
    loaded = network(folder)
    graded = grade(loaded, photographs.store.pixels, 9, batch=4)
    np.testing.assert_allclose(graded.logits, np.load(folder / "logits.npy")[:9], atol=1e-3)
    np.testing.assert_allclose(graded.embeddings, np.load(folder / "embeddings.npy")[:9], atol=1e-3)
    np.testing.assert_allclose(graded.trunk, np.load(folder / "trunk.npy")[:9], atol=1e-4)
    mapped = grade_with_maps(loaded, photographs.store.pixels(np.arange(4)))
    np.testing.assert_allclose(mapped.logits, graded.logits[:4], atol=1e-3)
    np.testing.assert_allclose(mapped.maps.mean(axis=(2, 3)), mapped.embeddings, atol=1e-3)


def test_the_trunk_runs_once_for_all_methods(run, prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(TrunkFeatures, "_read", lambda *_: pytest.fail("read again"))
    for method in ("coral", "group_dro", "erm_ema", "mixup"):
        chosen = settings(method, fit={"epochs": 1, "device": "cpu", "prefetch": 0})
        table = train_retina(prepared.split("corran"), prepared.folder, chosen, tmp_path / method)
        assert len(table) == len(run[1])


def test_a_graded_head_gets_its_cut_points(prepared, tmp_path):
    chosen = settings(head="grade")
    table = train_retina(prepared.split("corran"), prepared.folder, chosen, tmp_path / "graded")
    assert np.isfinite(table[[f"prob_{name}" for name in GRADES]].to_numpy()).all()


@pytest.mark.parametrize("method", ["deco", "mixstyle", "gdrnet"])
def test_what_mixes_pictures_or_maps_is_refused(method, prepared, tmp_path):
    with pytest.raises(InputError, match="frozen") as caught:
        train_retina(prepared.split("corran"), prepared.folder, settings(method), tmp_path / "run")
    assert caught.value.code == "needs_a_trained_trunk"
    assert method not in ON_FEATURES


def test_no_other_network_is_frozen():
    with pytest.raises(ValidationError, match="efficientnet-lite0"):
        BackboneSettings(frozen=True)
