"""SC-MIL on arrays: the training of the command, and errors that name the bag."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import offsite
from offsite.pathology.features.file import (
    FeatureOrigin,
    SlideFeatures,
    feature_path,
    write_features,
)
from offsite.pathology.methods import METHODS
from offsite.pathology.prediction.predictor import SlidePredictor
from offsite.pathology.tile_encoders.registry import EncoderSettings, load_encoder
from offsite.preprocessing.tiles.table import TileSettings
from offsite.workflows.jobs.job import Job
from offsite.workflows.package.folder import load_package
from offsite.workflows.predict.inputs.listing import find_inputs
from offsite.workflows.stages.training import train

CLASSES = ("high", "low", "middle")


def drawn(count: int = 36, width: int = 6, seed: int = 0) -> tuple[list[np.ndarray], list[str]]:
    """Bags of 5 to 24 instances of which a third show the class."""
    rng = np.random.default_rng(seed)
    labels = [CLASSES[number % 3] for number in range(count)]
    bags = []
    for label in labels:
        bag = rng.normal(size=(rng.integers(5, 25), width))
        bag[: len(bag) // 3, CLASSES.index(label)] += 2
        bags.append(bag)
    return bags, labels


def trained_by_command(
    folder: Path, bags: list[np.ndarray], labels: list[str], sites: list[str],
    patients: list[str], method: str,
) -> pd.DataFrame:  # fmt: skip
    """The predictions of `offsite train` on feature files of the bags."""
    names = [f"bag-{number}" for number in range(len(bags))]
    pd.DataFrame(
        {"image": names, "patient": patients, "site": sites, "label": labels}
    ).to_csv(folder / "cohort.csv", index=False)  # fmt: skip
    origin = FeatureOrigin(tile_px=224, mpp=0.5, tile_size_level0=448, encoder="mine",
                           encoder_digest="a")  # fmt: skip
    for name, bag in zip(names, bags, strict=True):
        (folder / name).touch()  # the command asks for the slides too
        coords = np.zeros((len(bag), 2), np.int64)
        slide = SlideFeatures(features=bag.astype(np.float16), coords=coords, origin=origin)
        write_features(feature_path(folder / "results" / "features", name), slide)
    settings: dict[str, Any] = {
        "task": "pathology", "cohort": "cohort.csv", "classes": list(CLASSES), "output": "results",
        "splits": {"test": 0.0, "seed": 3},
        "training": {"method": method, "fit": {"epochs": 6, "seed": 3, "device": "cpu"}},
        "cells": {"seeds": [3]},
    }  # fmt: skip
    (folder / "job.yaml").write_text(yaml.safe_dump(settings))
    job = Job.load(folder / "job.yaml")
    return pd.read_parquet(train(job, job.cells()[0]) / "predictions.parquet")


@pytest.mark.parametrize("method", ["sc_mil", "balanced_sampling", "two_stage"])
def test_it_is_the_training_of_the_command(method: str, tmp_path: Path) -> None:
    bags, labels = drawn()
    sites = ["north" if number < 18 else "south" for number in range(36)]
    patients = [f"patient {number // 2}" for number in range(36)]
    table = trained_by_command(tmp_path, bags, labels, sites, patients, method)
    model = offsite.SCMIL(method, epochs=6, seed=3, device="cpu")
    found = model.fit(bags, labels, sites, patients).predict_proba(bags)
    assert model.classes_ == CLASSES
    wanted = table[[f"prob_{name}" for name in CLASSES]].to_numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert np.ptp(found, axis=0).min() > 0.05  # it tells the bags apart, so equal means something


@pytest.fixture(scope="module")
def fitted() -> offsite.SCMIL:
    bags, labels = drawn()
    return offsite.SCMIL(epochs=25, device="cpu").fit(bags, labels)


def test_it_learns_what_the_bags_show(fitted: offsite.SCMIL) -> None:
    bags, labels = drawn(30, seed=1)
    shares = fitted.predict_proba(bags)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    predicted = fitted.predict(bags)
    assert predicted == [CLASSES[number] for number in shares.argmax(axis=1)]
    assert np.mean([one == other for one, other in zip(predicted, labels, strict=True)]) > 0.6


def test_attention_has_a_weight_for_each_instance_and_follows_their_order(
    fitted: offsite.SCMIL,
) -> None:
    bags, _ = drawn(6, seed=2)
    weights = fitted.attention(bags)
    assert [len(row) for row in weights] == [len(bag) for bag in bags]
    np.testing.assert_allclose([row.sum() for row in weights], 1, atol=1e-5)
    turned = fitted.attention([bag[::-1] for bag in bags])
    for row, back in zip(weights, turned, strict=True):
        np.testing.assert_allclose(row, back[::-1], atol=1e-5)


def test_tensors_and_lists_are_arrays(fitted: offsite.SCMIL) -> None:
    bags, _ = drawn(3)
    wanted = fitted.predict_proba(bags)
    tensors = [torch.from_numpy(bag).requires_grad_() for bag in bags]
    np.testing.assert_array_equal(fitted.predict_proba(tensors), wanted)
    np.testing.assert_array_equal(fitted.predict_proba([bag.tolist() for bag in bags]), wanted)


def test_numbers_as_labels_are_classes_in_their_order() -> None:
    bags, _ = drawn(12)
    model = offsite.SCMIL(epochs=1, device="cpu").fit(bags, np.array([10, 2] * 6))
    assert model.classes_ == ("2", "10")


def test_names_are_classes_in_the_order_that_is_said_and_then_none_is_taken_for_granted(
    tmp_path: Path,
) -> None:
    bags, labels = drawn(12, width=24)
    order = ["low", "middle", "high"]
    model = offsite.SCMIL(epochs=1, device="cpu").fit(bags, labels, classes=order)
    assert model.classes_ == tuple(order)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        package = load_package(model.save(tmp_path / "package", encoder="colour_baseline"))
    assert package.record.decision.positive == ("middle", "high")
    for wrong in (["low", "high"], [*order, "low"], [*order, "other"]):
        with pytest.raises(offsite.InputError, match="classes names") as caught:
            offsite.SCMIL(epochs=1).fit(bags, labels, classes=wrong)
        assert "the mildest first" in caught.value.remedy


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (np.zeros((3, 5)), "bag 7 is 5 wide, bag 0 is 6"),
        (np.full((3, 6), np.nan), "bag 7 holds NaN or infinity"),
        (np.full((3, 6), np.inf), "bag 7 holds NaN or infinity"),
        (np.full((3, 6), 7e4), "bag 7 holds a number over 65504"),
        (np.zeros((0, 6)), "bag 7 has shape (0, 6)"),
        (np.zeros(6), "bag 7 has shape (6,)"),
        ([["a"] * 6], "bag 7 is no array of numbers"),
        ([[1.0], [1.0, 2.0]], "bag 7 is no array of numbers"),
    ],
)
def test_a_bag_that_cannot_be_used_is_named_by_its_number(
    wrong: Any, said: str, fitted: offsite.SCMIL
) -> None:
    bags, labels = drawn(12)
    bags[7] = wrong
    for attempt in (
        lambda: offsite.SCMIL(epochs=1).fit(bags, labels),
        lambda: fitted.predict_proba(bags),
        lambda: fitted.attention(bags),
    ):
        with pytest.raises(offsite.InputError) as caught:
            attempt()
        assert said in str(caught.value)
        assert caught.value.code == "bad_bag"


def test_bags_of_another_width_than_the_model_are_refused(fitted: offsite.SCMIL) -> None:
    with pytest.raises(offsite.InputError, match="bag 0 is 5 wide, the model takes 6"):
        fitted.predict_proba([np.zeros((3, 5))])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"labels": ["a"] * 11 + ["b"]}, "bag 11 is the only one of class 'b'"),
        ({"labels": ["a"] * 12}, "one class"),
        ({"labels": ["a", "b"] * 5}, "12 bags and 10 labels"),
        ({"labels": ["a", None] * 6}, "bag 1 has no label"),
        ({"labels": [0.0, float("nan")] * 6}, "bag 1 has no label"),
        ({"labels": ["a", 1] * 6}, "several types"),
        ({"sites": ["s"] * 3}, "12 bags and 3 sites"),
        ({"sites": ["s"] * 5 + [" "] * 7}, "bag 5 has no site"),
        ({"patients": ["p"] * 13}, "12 bags and 13 patients"),
        ({"sites": ["s", "t"] * 6, "patients": ["p"] * 12}, "patient of bag 0 is of two sites"),
    ],
)
def test_lists_that_do_not_fit_the_bags_are_refused(given: dict[str, Any], said: str) -> None:
    bags, _ = drawn(12)
    with pytest.raises(offsite.InputError) as caught:
        offsite.SCMIL(epochs=1).fit(bags, **{"labels": ["a", "b"] * 6, **given})
    assert said in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    "given", [{"method": "magic"}, {"epochs": 0}, {"seed": -1}, {"device": "cuda:99"}]
)
def test_settings_that_cannot_be_used_are_refused_at_once(given: dict[str, Any]) -> None:
    with pytest.raises(offsite.InputError):
        offsite.SCMIL(**given)


def test_every_method_of_the_configuration_is_a_method_here() -> None:
    for method in METHODS:
        assert method in repr(offsite.SCMIL(method))


def test_what_is_not_fitted_says_so(tmp_path: Path) -> None:
    model, bags = offsite.SCMIL(), drawn(1)[0]
    for attempt in (lambda: model.predict_proba(bags), lambda: model.save(tmp_path / "package")):
        with pytest.raises(offsite.InputError, match="not fitted"):
            attempt()


def test_a_package_of_another_encoder_than_that_of_the_bags_is_refused(
    fitted: offsite.SCMIL, tmp_path: Path
) -> None:
    with pytest.raises(offsite.InputError, match=r"the bags have 6.*Name the encoder"):
        fitted.save(tmp_path / "package")
    assert not (tmp_path / "package").exists()


def test_the_package_answers_for_slides_as_the_model_for_their_features(
    slide_run: Any, tmp_path: Path
) -> None:
    table = pd.read_csv(slide_run.cohort)
    paths = [slide_run.cohort.parent / image for image in table["image"]]
    encoder = load_encoder(EncoderSettings(tile_px=128))

    def features(path: Path) -> np.ndarray:
        with offsite.open_slide(path) as slide:
            return encoder.encode(np.stack([t.pixels for t in slide.tiles(px=128, tissue=0.3)]))

    bags = [features(path) for path in paths]
    model = offsite.SCMIL(epochs=2, device="cpu").fit(bags, table["label"], table["site"])
    first = model.classes_[0]
    model.save(tmp_path / "package", px=128, tissue=0.3, positive=[first])
    package = load_package(tmp_path / "package")
    assert package.record.classes == model.classes_
    assert package.record.decision.positive == (first,)
    assert package.record.preprocessing["tiles"] == TileSettings(
        tile_px=128, min_tissue=0.3
    ).model_dump(mode="json")
    predictor = SlidePredictor(package, "cpu")
    item = find_inputs([paths[0]], site="aster", leave_out=tmp_path).items[0]
    logits = predictor.infer([predictor.prepare(item)])[0].logits
    shares = np.exp(logits - logits.max())
    np.testing.assert_allclose(shares / shares.sum(), model.predict_proba(bags[:1])[0], atol=1e-6)
    answers = offsite.load_model(tmp_path / "package").predict(paths[0], site="aster")
    assert answers[[f"prob_{name}" for name in model.classes_]].sum(axis=1)[0] == pytest.approx(1)
    with pytest.warns(UserWarning, match=f"referral is taken to be for {model.classes_[1]}"):
        model.save(tmp_path / "package", px=128)
    for wrong in ([], ["other"], model.classes_):
        with pytest.raises(offsite.InputError, match="positive names"):
            model.save(tmp_path / "package", px=128, positive=wrong)
