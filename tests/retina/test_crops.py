"""Crops of one eye as a bag: read by the frozen trunk, pooled by additive attention."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from offsite.errors import InputError
from offsite.preprocessing.synthetic.fundus.sites import GRADES
from offsite.retina.inference import grade, grade_with_maps, load_fundus_model
from offsite.retina.networks.classifier import build_classifier
from offsite.retina.networks.crops import CropBackbone
from offsite.retina.photographs.batches import normalised, pixels_of
from offsite.retina.photographs.kept_maps import KeptMaps
from offsite.retina.photographs.of_run import select_photographs
from offsite.retina.photographs.source import KeptMapLoader
from offsite.retina.settings import BackboneSettings, RetinaSettings
from offsite.retina.training import train_retina
from tests.retina.cut_off import same_bits_after_a_cut

CROPS = {"name": "efficientnet-lite0", "frozen": True, "crops": 2, "stages": "last",
         "frozen_copies": 2}  # fmt: skip
PICTURES = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), np.uint8)


def settings(method="erm", crop_px=40, **fit):
    return RetinaSettings.model_validate(
        {
            "method": method, "batch_size": 16, "backbone": {**CROPS, "crop_px": crop_px},
            "fit": {"epochs": 3, "learning_rate": 1e-3, "device": "cpu", "prefetch": 0, **fit},
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(large, tmp_path_factory):
    folder = tmp_path_factory.mktemp("crops") / "run"
    return folder, train_retina(*large, settings(), folder)


@pytest.fixture(scope="module")
def large(prepared, tmp_path_factory):
    from offsite.preprocessing.fundus.cohort import prepare_cohort
    from offsite.preprocessing.fundus.photograph import FundusSettings

    folder = tmp_path_factory.mktemp("large")
    prepare_cohort(prepared.cohort, folder, FundusSettings(px=48), workers=1)
    return prepared.split("corran"), folder


@torch.inference_mode()
def test_each_crop_is_read_as_a_picture_of_its_own():
    network = build_classifier(BackboneSettings(**CROPS, crop_px=64), 5, seed=0).eval()
    backbone = network.backbone
    maps = backbone.front(normalised(PICTURES))
    for row, y in enumerate((0, 32)):
        for column, x in enumerate((0, 32)):
            crop = pixels_of(normalised(PICTURES[:, y : y + 64, x : x + 64]))
            expected = backbone.trunk_reader(crop)
            torch.testing.assert_close(maps[:, :, row, column], expected, rtol=1e-3, atol=1e-3)
    assert torch.equal(backbone(maps), backbone(normalised(PICTURES)))


@torch.inference_mode()
def test_the_parts_of_the_crops_add_up_to_the_answer():
    network = build_classifier(BackboneSettings(**CROPS, crop_px=64), 5, seed=0).eval()
    graded = grade_with_maps(network, PICTURES)
    assert graded.maps.shape == (2, 128, 2, 2)
    np.testing.assert_allclose(graded.maps.mean(axis=(2, 3)), graded.embeddings, atol=1e-5)
    weight, bias = network.classifier.weight.numpy(), network.classifier.bias.numpy()
    parts = np.einsum("ce,behw->bchw", weight, graded.maps) / 4
    np.testing.assert_allclose(parts.sum(axis=(2, 3)) + bias, graded.logits, atol=1e-4)
    assert graded.trunk.shape == (2, 640)


def test_a_run_learns_and_answers_as_its_weights_do(run, large):
    folder, table = run
    losses = [json.loads(line)["losses"]["loss"] for line in (folder / "curves.jsonl").open()]
    assert losses[-1] < losses[0]
    architecture = json.loads((folder / "run.json").read_text())["facts"]["architecture"]
    network = load_fundus_model(folder / "weights.safetensors", architecture)
    photographs = select_photographs(*large, 1.0)
    graded = grade(network, photographs.store.pixels, len(table), batch=5)
    probabilities = table[[f"prob_{name}" for name in GRADES]].to_numpy()
    np.testing.assert_allclose(graded.probabilities, probabilities, atol=1e-5)
    np.testing.assert_allclose(graded.trunk, np.load(folder / "trunk.npy"), atol=1e-4)


def test_what_is_kept_is_what_the_trunk_sees_of_each_crop(run, large):
    chosen = settings()
    network = build_classifier(chosen.backbone, 5, seed=0).eval()
    photographs = select_photographs(*large, 1.0)
    kept = KeptMaps(photographs, large[1], network.backbone.reader(), "another")
    rows = photographs.rows("val")[:3]
    kept.read(rows, "none", 1)
    seen = kept.maps(rows, "none", [0] * 3)
    with torch.inference_mode():
        plain = network.backbone.front(normalised(photographs.store.pixels(rows)))
    torch.testing.assert_close(seen, plain, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("method", ["coral", "group_dro", "erm_ema"])
def test_methods_that_ask_for_features_train_on_crops(run, large, tmp_path, method, monkeypatch):
    monkeypatch.setattr(CropBackbone, "_read", lambda *_: pytest.fail("read again"))
    table = train_retina(*large, settings(method), tmp_path / method)
    assert np.isfinite(table[[f"prob_{name}" for name in GRADES]].to_numpy()).all()


def test_a_run_cut_off_in_mid_epoch_ends_with_the_same_bits(large, prepared, tmp_path, monkeypatch):
    given = settings(epochs=2, checkpoint_every_steps=1)
    at_48_px = replace(prepared, folder=large[1])
    assert same_bits_after_a_cut(at_48_px, tmp_path, monkeypatch, given, KeptMapLoader)


def test_photographs_smaller_than_a_crop_are_refused(large, tmp_path):
    with pytest.raises(InputError, match="hold no crops of 64 px") as caught:
        train_retina(*large, settings(crop_px=64), tmp_path / "run")
    assert caught.value.code == "smaller_than_a_crop"


def test_what_mixes_maps_is_refused(large, tmp_path):
    with pytest.raises(InputError, match="frozen trunk"):
        train_retina(*large, settings("deco"), tmp_path / "run")


@pytest.mark.parametrize("wrong", [{"crops": 3}, {"frozen": True, "crops": 1}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValidationError, match="crops"):
        BackboneSettings.model_validate({"name": "efficientnet-lite0", **wrong})
