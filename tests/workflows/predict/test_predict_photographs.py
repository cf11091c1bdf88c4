"""Photographs through the batch: evaluation's numbers, calibration, sets, thresholds, rollup."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from offsite.evaluation.conformal.sets import ConformalSets
from offsite.evaluation.predictions.table import load_predictions
from offsite.preprocessing.synthetic.fundus.cohort import make_photograph
from offsite.preprocessing.synthetic.fundus.sites import CLINICS
from offsite.workflows.package.folder import load_package
from offsite.workflows.package.making import ModelFacts, package_run
from offsite.workflows.package.temperature import tempered
from offsite.workflows.predict.batch import BatchOptions, Outcome
from offsite.workflows.predict.running import predict
from tests.workflows.conftest import FundusRun


@pytest.fixture(scope="module")
def predicted(fundus_run: FundusRun, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    output = tmp_path_factory.mktemp("predicted") / "out"
    options = BatchOptions(output=output, workers=1)
    return predict([fundus_run.cohort], str(fundus_run.package), options, device="cpu")


@pytest.fixture(scope="module")
def rows(predicted: Outcome) -> pd.DataFrame:
    table = pd.read_csv(predicted.folder / "results.csv", keep_default_na=False)
    return table.set_index(table["input"].map(lambda path: Path(path).name))


def test_predictions_equal_evaluation_s_before_and_after_calibration(
    fundus_run: FundusRun, rows: pd.DataFrame
) -> None:
    package = load_package(fundus_run.package)
    evaluated = load_predictions(fundus_run.run)
    names = evaluated.table["image"].map(lambda path: Path(path).name)
    gradable = rows.loc[names, "quality"].to_numpy() == "gradable"
    assert gradable.sum() > 50
    temperature = float(package.reference["calibration/_pooled/temperature"])
    assert evaluated.logits is not None
    wanted = tempered(evaluated.logits, temperature)[gradable]
    columns = [f"prob_{name}" for name in package.record.classes]
    answered = rows.loc[names, columns][gradable].astype(float).to_numpy()
    assert np.abs(answered - wanted).max() < 1e-6
    # At temperature 1 they are evaluation's own probabilities.
    assert np.allclose(tempered(evaluated.logits, 1), evaluated.probabilities, atol=1e-6)


def test_sets_and_decisions_follow_the_package(fundus_run: FundusRun, rows: pd.DataFrame) -> None:
    package = load_package(fundus_run.package)
    record = package.record
    sets = ConformalSets.from_arrays(package.arrays("conformal/_pooled"))
    answered = rows[rows["status"].isin(["ok", "review"])]
    shares = answered[[f"prob_{name}" for name in record.classes]].astype(float).to_numpy()
    for level in (90, 95):
        members = sets.predict(shares, answered["site_profile"].to_numpy(str), level / 100).members
        wanted = ["; ".join(np.array(record.classes)[row]) or "(empty)" for row in members]
        assert (answered[f"set_{level}"] == wanted).mean() > 0.98  # six decimals may tip a tie
    referral = record.profiles["_pooled"].referral
    assert referral is not None
    assert referral.sensitivity is not None
    assert referral.sensitivity.value >= 0.9
    over = answered["referable_probability"].astype(float) >= answered[
        "referable_threshold"
    ].astype(float)
    assert (answered["referable"] == np.where(over, "yes", "no")).all()
    held_out = answered[answered["site_profile"] == "_pooled"]
    assert len(held_out) > 10
    assert not (held_out["decision"] == "no_referral").any(), "nobody checked the model there"
    assert answered["ood_percentile"].astype(float).between(0, 100).all()


def test_nothing_of_an_answer_is_fitted_on_the_ungradable(
    fundus_run: FundusRun, tmp_path: Path
) -> None:
    record = load_package(fundus_run.package).record
    facts = ModelFacts(
        name=record.name, task="photographs", target=record.target,
        architecture=record.architecture.name, architecture_settings=record.architecture.settings,
        positive=record.decision.positive, urgent=record.decision.urgent,
    )  # fmt: skip
    run = Path(shutil.copytree(fundus_run.run, tmp_path / "run"))
    listed = pd.read_csv(run / "excluded.csv", dtype=str, keep_default_na=False)
    table = load_predictions(run).table
    fitted_on = (table["split"] == "val") & ~table["image"].isin(listed["image"])
    more = table.loc[fitted_on, ["image"]].head(9).assign(status="not_trained_on")
    pd.concat([listed, more]).to_csv(run / "excluded.csv", index=False)
    with_less = load_package(package_run(run, None, tmp_path / "package", facts)).record
    before, after = record.profiles["_pooled"], with_less.profiles["_pooled"]
    assert before.n == fitted_on.sum()
    assert after.n == before.n - 9


def test_the_ungradable_are_never_negative(rows: pd.DataFrame, predicted: Outcome) -> None:
    ungradable = rows[rows["quality"] == "ungradable"]
    assert (ungradable["decision"] == "retake").all()
    assert (ungradable["prediction"] == "").all()
    patients = pd.read_csv(predicted.folder / "patients.csv", dtype={"patient": str})
    images = rows.groupby(rows["patient"].astype(str))
    worst = {"urgent": 0, "refer": 1, "human_review": 2, "retake": 3, "no_referral": 4}
    for patient in patients.itertuples():
        decisions = images.get_group(patient.patient)["decision"].map(worst)
        assert worst[patient.decision] <= decisions.min() or decisions.min() == 3


def test_the_record_of_a_case_says_everything(predicted: Outcome) -> None:
    case = next((predicted.folder / "cases").iterdir())
    record = json.loads((case / "case.json").read_text())
    assert {"image", "thumbnail"} <= set(record["files"])
    assert record["facts"]["width"] > 0
    page = (case / "index.html").read_text()
    assert "Research use only" in page
    assert "no evaluation came with this model" in page


def test_what_is_not_one_whole_eye_at_a_usable_size_is_not_answered(
    fundus_run: FundusRun, tmp_path: Path
) -> None:
    one = make_photograph(1, 0, CLINICS[0].camera, px=150)
    pictures = {
        "page": np.concatenate([one, make_photograph(2, 4, CLINICS[0].camera, px=150)], axis=1),
        "small": cv2.resize(one, (20, 20), interpolation=cv2.INTER_AREA),
        "whole": one,
    }
    for name, picture in pictures.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    options = BatchOptions(output=tmp_path / "out", workers=1)
    files = [tmp_path / f"{name}.png" for name in pictures]
    outcome = predict(files, str(fundus_run.package), options, device="cpu")
    table = pd.read_csv(outcome.folder / "results.csv", keep_default_na=False)
    assert table["code"].tolist()[:2] == ["several_fields", "resolution_too_low"]
    assert table["status"].tolist()[:2] == ["excluded", "excluded"]
    assert table["decision"].tolist()[:2] == ["human_review", "human_review"]
    assert table["status"][2] in ("ok", "review")


def test_a_later_look_at_a_site_knows_day_camera_and_size(
    fundus_run: FundusRun, tmp_path: Path
) -> None:
    picture = Image.fromarray(make_photograph(1, 0, CLINICS[0].camera, px=150))
    tags = Image.Exif()
    tags.get_ifd(0x8769)[0x9003], tags[0x010F] = "2021:03:04 05:06:07", "Canon"
    picture.save(tmp_path / "dated.jpg", exif=tags)
    picture.save(tmp_path / "undated.png")
    picture.rotate(90).save(tmp_path / "nothing.png")
    (tmp_path / "list.csv").write_text(
        "image,patient,site,date,scanner\ndated.jpg,a,x,2024-05-05,NW8\n"
        "undated.png,b,x,2024-05-06,NW9\nnothing.png,c,x,,\n"
    )
    options = BatchOptions(output=tmp_path / "out", workers=1)
    before = datetime.now(UTC).replace(microsecond=0)
    outcome = predict([tmp_path / "list.csv"], str(fundus_run.package), options, device="cpu")
    rows = pd.read_csv(outcome.folder / "results.csv", keep_default_na=False, dtype=str)
    lines = (outcome.folder / "results.jsonl").read_text().splitlines()
    assert rows["acquired"].tolist() == ["2021-03-04", "2024-05-06", ""]
    assert rows["scanner"].tolist() == ["Canon", "NW9", ""]
    side = str(picture.width)
    assert rows[["width", "height", "um_per_px"]].drop_duplicates().values.tolist() == [
        [side, side, ""]
    ]
    assert rows["compression"].tolist() == ["jpeg", "png", "png"]
    for line, row in zip(map(json.loads, lines), rows.to_dict("records"), strict=True):
        assert before <= datetime.fromisoformat(line["answered_at"]) <= datetime.now(UTC)
        assert (line["acquired"], line["answered_at"]) == (row["acquired"], row["answered_at"])
