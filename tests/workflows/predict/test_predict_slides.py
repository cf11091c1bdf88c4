"""Slides through the batch: the numbers of evaluation, heatmaps, and refusals as rows."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from offsite.pathology.features.file import (
    LAYOUTS,
    feature_path,
    read_features,
    write_features,
)
from offsite.pathology.inference import load_slide_model, predict_bag
from offsite.pathology.prediction.predictor import SlidePredictor
from offsite.pathology.prediction.slide_features import SlideFeatureMaker
from offsite.pathology.tile_encoders.registry import EncoderSettings, load_encoder
from offsite.preprocessing.tiles.table import TileSettings
from offsite.training.prediction.items import Item
from offsite.workflows.jobs.configuration import configuration_model
from offsite.workflows.jobs.modalities import modality_named
from offsite.workflows.package.folder import load_package, write_package
from offsite.workflows.package.verification import ModelRefused
from offsite.workflows.predict.batch import BatchOptions, Outcome
from offsite.workflows.predict.running import predict, predictor_for
from tests.workflows.conftest import SlideRun


def table(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "results.csv", keep_default_na=False, dtype={"patient": str})


@pytest.fixture(scope="module")
def predicted(slide_run: SlideRun, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    output = tmp_path_factory.mktemp("predicted") / "out"
    options = BatchOptions(output=output, workers=1)
    return predict([slide_run.cohort], str(slide_run.package), options, device="cpu")


def test_predictions_equal_those_of_evaluation(slide_run: SlideRun, predicted: Outcome) -> None:
    mine = table(predicted.folder)
    theirs = pd.read_parquet(slide_run.run / "predictions.parquet")
    assert [Path(p).name for p in mine["input"]] == [Path(p).name for p in theirs["image"]]
    package = load_package(slide_run.package)
    columns = [f"prob_{name}" for name in package.record.classes]
    temperature = package.reference.get("calibration/_pooled/temperature")
    assert temperature is None, "five validation slides calibrate nothing"
    answered, wanted = mine[columns].to_numpy(float), theirs[columns].to_numpy()
    assert np.abs(answered - wanted).max() < 1e-6
    assert wanted.std(axis=0).min() > 1e-3, "the slides differ, so that equality says something"


def test_what_cannot_be_fitted_is_said(slide_run: SlideRun, predicted: Outcome) -> None:
    record = load_package(slide_run.package).record
    assert any("prediction sets" in limit for limit in record.limits)
    rows = table(predicted.folder)
    assert set(rows["code"]) <= {"no_threshold", "out_of_distribution"}
    assert set(rows["decision"]) == {"human_review"}
    assert set(rows["set_90"]) == {""}
    assert not (rows["decision"] == "no_referral").any()


def test_heatmaps_lie_over_the_picture_and_open_in_qupath(predicted: Outcome) -> None:
    case = predicted.folder / "cases" / table(predicted.folder)["case"][0]
    record = json.loads((case / "case.json").read_text())
    view = cv2.imread(str(case / "image.jpg"))
    overlay = cv2.imread(str(case / "overlay.png"), cv2.IMREAD_UNCHANGED)
    assert overlay.shape == (*view.shape[:2], 4)
    assert 0.1 < (overlay[..., 3] > 0).mean() < 1
    with gzip.open(case / "heatmap.geojson.gz", "rt") as file:
        features = json.load(file)["features"]
    assert len(features) == record["facts"]["tiles"]
    attention = [f["properties"]["measurements"]["attention"] for f in features]
    assert np.isclose(np.mean(attention), 1, atol=1e-3)
    assert (case / "heatmap.png").stat().st_size > 10_000


def test_patients_are_the_worst_of_their_slides(predicted: Outcome) -> None:
    patients = pd.read_csv(predicted.folder / "patients.csv", dtype=str)
    assert len(patients) == 15
    assert set(patients["decision"]) == {"human_review"}


def test_real_slides_are_read_or_refused_each_in_its_row(
    slide_run: SlideRun, real_data: Path, tmp_path: Path
) -> None:
    for path in sorted((real_data / "wsi" / "unreadable").iterdir()):
        if path.suffix != ".md" and path.is_file():
            (tmp_path / "in").mkdir(exist_ok=True)
            (tmp_path / "in" / path.name).symlink_to(path)
    photo = next((real_data / "dr_idrid" / "images").rglob("*.jpg"))
    (tmp_path / "in" / "photo.jpg").symlink_to(photo)
    options = BatchOptions(output=tmp_path / "out", workers=2)
    outcome = predict([tmp_path / "in"], str(slide_run.package), options, device="cpu")
    assert outcome.exit_code == 3
    rows = table(tmp_path / "out")
    assert len(rows) == len(list((tmp_path / "in").iterdir()))
    name_of = rows["input"].map(lambda path: Path(path).name)
    read = name_of.str.endswith(".ome.tif")  # by the second reader of TIFF
    assert read.sum() == 3
    assert set(rows["status"][~read]) <= {"error", "excluded"}
    assert "error" not in set(rows["status"][read])
    assert (rows["reasons"].str.len() > 5).all()
    assert rows.set_index(rows["input"].map(lambda p: Path(p).name))["code"]["photo.jpg"] == (
        "wrong_kind"
    )
    assert "internal_error" not in set(rows["code"])


def test_another_encoder_is_refused(slide_run: SlideRun, tmp_path: Path) -> None:
    package = load_package(slide_run.package)
    record = package.record.model_copy(
        update={"fingerprints": {**package.record.fingerprints, "encoder": "0" * 64}}
    )
    write_package(tmp_path / "package", record, package.weights, package.reference)
    with pytest.raises(ModelRefused, match="another version of encoder"):
        predictor_for(load_package(tmp_path / "package"), "cpu")


def test_a_model_of_eight_bits_answers_for_what_the_files_of_its_training_hold(
    slide_run: SlideRun, tmp_path: Path
) -> None:
    package = load_package(slide_run.package)
    cohort = pd.read_csv(slide_run.cohort, dtype=str)
    image = slide_run.cohort.parent / cohort["image"][0]
    found = {}
    for bits in (16, 8):
        of_bits = {"bits": bits} if bits == 8 else {}
        preprocessing = {**package.record.preprocessing, **of_bits}
        record = package.record.model_copy(update={"preprocessing": preprocessing})
        write_package(tmp_path / str(bits), record, package.weights, package.reference)
        predictor = SlidePredictor(load_package(tmp_path / str(bits)), "cpu")
        answer = predictor.infer([predictor.prepare(Item(path=image, name="", case=""))])[0]
        whole = read_features(feature_path(slide_run.run.parent / "features", cohort["slide"][0]))
        origin = whole.origin.model_copy(update={"version": LAYOUTS[bits]})
        write_features(tmp_path / "kept.h5", replace(whole, origin=origin))
        kept = read_features(tmp_path / "kept.h5").features
        model = load_slide_model(
            slide_run.package / "weights.safetensors", record.architecture.settings
        )
        np.testing.assert_array_equal(answer.logits, predict_bag(model, kept).logits)
        found[bits] = answer.logits
    assert (found[16] != found[8]).any()
    unknown = package.record.model_copy(
        update={"preprocessing": {**package.record.preprocessing, "bits": 4}}
    )
    write_package(tmp_path / "unknown", unknown, package.weights, package.reference)
    with pytest.raises(ModelRefused, match="4 bits, which this version does not know"):
        predictor_for(load_package(tmp_path / "unknown"), "cpu")


def test_a_job_of_eight_bits_says_so_in_its_packages() -> None:
    values = {"task": "pathology", "cohort": "cohort.csv", "classes": ["a", "b"]}
    for bits in (16, 8):
        job = configuration_model("pathology").model_validate(values | {"features": {"bits": bits}})
        facts = modality_named("pathology").package_facts(job, {"name": "sc_mil"})
        assert facts["preprocessing"].get("bits", 16) == bits


@pytest.mark.parametrize("pooling", ["patient_union", "patient_late"])
def test_a_model_of_patients_answers_from_all_their_slides(
    slide_run: SlideRun, tmp_path: Path, pooling: str
) -> None:
    package = load_package(slide_run.package)
    record = package.record.model_copy(
        update={"preprocessing": {**package.record.preprocessing, "pooling": pooling}}
    )
    write_package(tmp_path / "package", record, package.weights, package.reference)
    table = pd.read_csv(slide_run.cohort, dtype=str).iloc[:3]
    table["image"] = [str(slide_run.cohort.parent / image) for image in table["image"]]
    table.loc[:1, "patient"] = "two slides"
    table.loc[2, "patient"] = "one slide"
    table["site"] = "x"
    (tmp_path / "cut.svs").write_bytes(b"II*\x00")
    cut = {**table.iloc[0].to_dict(), "image": str(tmp_path / "cut.svs"), "slide": "cut"}
    table = pd.concat([table, pd.DataFrame([cut])])
    table.to_csv(tmp_path / "cohort.csv", index=False)
    options = BatchOptions(output=tmp_path / "out", workers=2)
    predict([tmp_path / "cohort.csv"], str(tmp_path / "package"), options, device="cpu")

    settings = record.preprocessing
    maker = SlideFeatureMaker(
        TileSettings.model_validate(settings["tiles"]),
        load_encoder(EncoderSettings.model_validate(settings["encoder"])),
    )
    model = load_slide_model(
        slide_run.package / "weights.safetensors", record.architecture.settings
    )
    bags = [maker.make(Path(path)).features.features for path in table["image"][:3]]
    single = [predict_bag(model, bag).probabilities for bag in bags]
    both = (
        predict_bag(model, np.concatenate(bags[:2])).probabilities
        if pooling == "patient_union" else np.mean(single[:2], axis=0)
    )  # fmt: skip
    rows = pd.read_csv(tmp_path / "out" / "results.csv", keep_default_na=False)
    answered = rows[[f"prob_{name}" for name in record.classes]][:3].astype(float).to_numpy()
    assert np.abs(answered - np.stack([both, both, single[2]])).max() < 2e-6
    assert rows["code"][3] == "unreadable"
    case = tmp_path / "out" / "cases" / rows["case"][0] / "case.json"
    facts = json.loads(case.read_text())["facts"]
    assert (facts["slides_of_patient"], facts["slides_of_patient_left_out"]) == (2, 1)


def test_less_tissue_than_the_model_ever_learned_from_is_said(
    slide_run: SlideRun, predicted: Outcome, tmp_path: Path
) -> None:
    package = load_package(slide_run.package)
    fewest = package.record.preprocessing["fewest_tiles"]
    splits = pd.read_parquet(slide_run.run / "splits.parquet")
    trained = splits[(splits["split"] == "train") & (splits["site_role"] == "training")]
    tiles = {Path(record["input"]).name: record["facts"]["tiles"] for record in predicted.records()}
    assert fewest == min(tiles[Path(image).name] for image in trained["image"])
    assert not any("less tissue" in row for row in table(predicted.folder)["reasons"]) or (
        min(tiles.values()) < fewest
    )
    settings = {**package.record.preprocessing, "fewest_tiles": 10_000}
    record = package.record.model_copy(update={"preprocessing": settings})
    write_package(tmp_path / "package", record, package.weights, package.reference)
    slide = sorted((slide_run.cohort.parent / "slides").iterdir())[0]
    options = BatchOptions(output=tmp_path / "out", workers=1)
    outcome = predict([slide], str(tmp_path / "package"), options, device="cpu")
    said = table(outcome.folder)["reasons"][0]
    assert f"less tissue ({tiles[slide.name]} tiles) than any slide" in said
    assert "(10000)" in said
