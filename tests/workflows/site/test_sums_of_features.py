"""A hospital joins a head on another tool's features by its sums, from files laid out by a third."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from offsite.errors import InputError
from offsite.files import read_json
from offsite.training.heads.site_sums import SiteSums
from offsite.training.heads.sums import fit_targets
from offsite.workflows.cli import app
from offsite.workflows.jobs.job import Job
from offsite.workflows.package.folder import load_package
from offsite.workflows.site.stage import calibrate
from offsite.workflows.site.sums import INSIDE, export_sums
from offsite.workflows.site.sums_file import read_sums
from offsite.workflows.stages import training
from offsite.workflows.stages.registration import package
from tests.workflows.feature_folders import CLASSES, LABEL, bags, make, write
from tests.workflows.sown import state


def means_of(table: pd.DataFrame, features: dict[str, np.ndarray]) -> np.ndarray:
    return np.stack([features[slide].astype(np.float64).mean(axis=0) for slide in table["slide"]])


def call(*words: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == code, f"{words}: {done.output} {done.exception!r}"
    return done.output


@pytest.mark.slow
def test_a_hospital_joins_by_the_sums_of_its_features(tmp_path: Path) -> None:
    job = Job.load(
        make(
            tmp_path / "ours", patients=45, training={"method": "linear", "linear": {"folds": 3}},
            evaluation={"metrics": {"resamples": 100, "calibration_simulations": 50},
                        "parts": ["operating_points", "conformal"]},
        )
    )  # fmt: skip
    run = training.train(job, job.cells()[0])
    model = package(run)
    theirs, north = bags(40, 4)
    theirs = theirs.assign(site="north")
    theirs.to_csv(tmp_path / "north.csv", index=False)
    folder = tmp_path / "north-features"
    for slide, rows in north.items():
        if slide != "S4-03":
            write(folder, "stamp" if slide == "S4-04" else "clam", slide, rows,
                  encoder="virchow2" if slide == "S4-04" else LABEL)  # fmt: skip
    before = state([folder])
    with pytest.raises(InputError, match="--features FOLDER"):
        export_sums(tmp_path / "north.csv", str(model), "north", tmp_path / "out", device="cpu")
    done = export_sums(tmp_path / "north.csv", str(model), "north", tmp_path / "out", device="cpu",
                       features=folder, keep_back=0.25)  # fmt: skip
    assert state([folder]) == before
    inside = pd.read_csv(tmp_path / "out" / INSIDE, dtype=str)
    unusable = inside["slide"].isin(["S4-03", "S4-04"])
    assert done.unanswered == unusable.sum()
    listed = pd.read_csv(tmp_path / "out" / "predictions" / "results.csv", dtype=str)
    codes = dict(
        zip(listed["input"].map(lambda name: Path(name).stem), listed["code"], strict=True)
    )
    assert codes.get("S4-03", "not_found") == "not_found"
    assert codes.get("S4-04", "other_encoder") == "other_encoder"
    summed = inside[~unusable]
    rows, labels = means_of(summed, north), summed["label"].map(CLASSES.index).to_numpy()
    sums = read_sums(done.file)
    for number in range(len(CLASSES)):
        assert sums.rows.weights[number] == (labels == number).sum()
        mean = sums.rows.sums[number] / sums.rows.weights[number]
        np.testing.assert_allclose(mean, rows[labels == number].mean(axis=0), atol=1e-3)
    joined = tmp_path / "joined"
    call("site", "join", run, done.file, "-o", joined)
    divided = pd.read_parquet(run / "splits.parquet")
    ours = divided[(divided["split"] == "train") & (divided["site"] != "held")]
    _, own = bags(45)
    both = SiteSums.of(
        np.concatenate([means_of(ours, own), rows]),
        np.concatenate([ours["label"].map(CLASSES.index), labels]),
        np.concatenate([ours["site"], ["north"] * len(rows)]).astype(str),
        len(CLASSES),
        read_json(run / "settings.json")["linear"]["site_share"],
    )
    penalty = read_json(run / "run.json")["facts"]["penalty"]
    ((slopes, _),) = fit_targets(both.weighted(), np.eye(len(CLASSES)), [penalty])
    heads = [load_file(at / "weights.safetensors")["classifier.weight"].T for at in (run, joined)]
    alike = [np.corrcoef(head.ravel(), slopes.ravel())[0, 1] for head in heads]
    assert alike[1] > 1 - 1e-6 > alike[0]
    told = call("model", "register", joined, "--name", "shared")
    assert "models:/shared/1" in told
    model_of_all = ["-m", "models:/shared/1", "--tracking-uri", job.tracking_uri]
    made = joined / "package"
    record = load_package(made).record
    assert "north" in record.training_sites
    assert record.preprocessing["features"]["encoder"]["label"] == LABEL
    # What the joined head says of the hospital's folder is what its sums say of the means.
    call("predict", folder, *model_of_all, "-o", tmp_path / "answers", "--workers", 1)
    answers = pd.read_csv(tmp_path / "answers" / "results.csv", keep_default_na=False)
    answers.index = answers["input"].map(lambda name: Path(name).stem)
    assert answers.loc["S4-04", "code"] == "other_encoder"
    assert set(answers.index) == set(north) - {"S4-03"}  # CLAM's two files are one case
    answered = answers.drop(index="S4-04")
    head = load_file(joined / "weights.safetensors")
    means = np.stack([north[slide].astype(np.float64).mean(axis=0) for slide in answered.index])
    logits = means @ head["classifier.weight"].T + head["classifier.bias"]
    assert answered["prediction"].tolist() == [CLASSES[k] for k in logits.argmax(axis=1)]
    ill = theirs.set_index("slide")["label"].loc[answered.index] == CLASSES[1]
    assert roc_auc_score(ill, answered[f"prob_{CLASSES[1]}"].astype(float)) > 0.9
    local = calibrate(
        tmp_path / "north.csv", str(made), "north", tmp_path / "calibrated", device="cpu",
        features=folder, refit=True,
    )  # fmt: skip
    assert local.report["labelled"] == 38
    assert state([folder]) == before
