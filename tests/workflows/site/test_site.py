"""A site: checks against known truth, local settings, and nothing without labels."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from offsite.errors import InputError
from offsite.evaluation.new_site.planning import cases_for
from offsite.evaluation.tracking.champion import champion_of
from offsite.evaluation.tracking.kept_predictions import keep_predictions, kept_predictions
from offsite.evaluation.tracking.logging import log_run
from offsite.evaluation.tracking.registry import find_version, register_package
from offsite.evaluation.tracking.store import client_of
from offsite.preprocessing.synthetic.fundus.sites import CLINICS
from offsite.training.prediction.contract import ModelAnswer, Prepared
from offsite.workflows.package.folder import load_package
from offsite.workflows.predict.batch import BatchOptions
from offsite.workflows.predict.running import predict
from offsite.workflows.site.cases import cases_of
from offsite.workflows.site.registry import promote_site_version
from offsite.workflows.site.stage import calibrate
from tests.workflows.conftest import FundusRun

SITE = CLINICS[2].name


def cohort_of(run: FundusRun, folder: Path, keep: int | None) -> Path:
    """The site's cases with the first ``keep`` labels (all with None), in a table of their own."""
    table = pd.read_csv(run.cohort, dtype=str, keep_default_na=False)
    table = table[table["site"] == SITE].reset_index(drop=True)
    if keep is not None:
        table.loc[keep:, "label"] = ""
    table["image"] = [str(run.cohort.parent / image) for image in table["image"]]
    folder.mkdir(exist_ok=True)
    table.to_csv(folder / "local.csv", index=False)
    return folder / "local.csv"


def test_labelled_cases_give_the_site_a_profile_of_its_own(
    fundus_run: FundusRun, tmp_path: Path
) -> None:
    local = cohort_of(fundus_run, tmp_path, None)
    done = calibrate(local, str(fundus_run.package), SITE, tmp_path / "out", device="cpu")
    assert done.package is not None
    package = load_package(done.package)
    profile = package.record.profiles[SITE]
    assert (profile.role, profile.n) == ("onboarded", done.report["labelled"])
    assert package.record.fingerprints[f"before {SITE}"] == load_package(fundus_run.package).digest
    assert profile.referral is not None
    assert profile.referral.interval is not None
    assert profile.referral.sensitivity is not None
    assert profile.referral.sensitivity.value >= 0.9
    assert {check["verdict"] for check in done.report["checks"].values()} <= {
        "holds", "unclear", "fails", "undefined",
    }  # fmt: skip
    assert json.loads((tmp_path / "out" / "site.json").read_text()) == done.report
    card = (done.package / "card.md").read_text()
    assert "local cases" in card
    assert f"{SITE}: the coverage of the local sets holds over all classes together" in card

    table = pd.read_csv(local)
    ill = table[table["label"].isin(package.record.decision.positive)]
    plan = [row for row in done.report["plan"] if row["what"] == "referral"]
    assert {(row["states"], row["within"]) for row in plan} == {
        (states, within) for states in ("the sensitivity", "a threshold for it")
        for within in (0.1, 0.05)
    }  # fmt: skip
    for row in plan:
        assert row["positives"] == ill["patient"].nunique()
        assert row["patients"] == table["patient"].nunique()
        assert row["positives_needed"] > row["positives"]
        share = row["positives"] / row["patients"]
        assert row["patients_needed"] == cases_for(row["positives_needed"], share)
    assert f"{row['positives']} of {row['patients']} patients here have a positive case" in card

    options = BatchOptions(output=tmp_path / "again", workers=1)
    predict([local], str(done.package), options, device="cpu")
    rows = pd.read_csv(tmp_path / "again" / "results.csv", keep_default_na=False)
    answered = rows[rows["status"].isin(["ok", "review"])]
    assert set(answered["site_profile"]) == {SITE}
    assert "uncalibrated_site" not in set(answered["code"])
    assert set(answered["referable_threshold"].astype(float)) == {profile.referral.threshold}


def test_unlabelled_cases_give_an_alarm_and_a_prior_and_no_setting(
    fundus_run: FundusRun, tmp_path: Path
) -> None:
    local = cohort_of(fundus_run, tmp_path, 0)
    done = calibrate(local, str(fundus_run.package), SITE, tmp_path / "out", device="cpu")
    assert done.package is None
    assert not (tmp_path / "out" / "package").exists()
    assert done.report["banner"].startswith("Not locally calibrated")
    prior = {name: found["value"] for name, found in done.report["prior"].items()}
    assert np.isclose(sum(prior.values()), 1)
    assert len(done.report["checks"]) == 1


def test_too_few_labels_and_a_site_that_is_not_there_are_refused(
    fundus_run: FundusRun, tmp_path: Path
) -> None:
    local = cohort_of(fundus_run, tmp_path, 6)
    with pytest.raises(InputError, match="too few to tell anything"):
        calibrate(local, str(fundus_run.package), SITE, tmp_path / "out", device="cpu")
    with pytest.raises(InputError, match="no case of site 'nowhere'"):
        calibrate(local, str(fundus_run.package), "nowhere", tmp_path / "out2", device="cpu")


def test_an_interrupted_prediction_makes_no_package(
    fundus_run: FundusRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from offsite.retina.prediction.predictor import PhotographPredictor
    from offsite.workflows.cli import app

    whole, calls = PhotographPredictor.infer, []

    def infer(self: PhotographPredictor, batch: list[Prepared]) -> list[ModelAnswer]:
        calls.append(len(batch))
        if len(calls) == 6:  # by then there are labelled cases enough to fit something on
            raise KeyboardInterrupt
        return whole(self, batch)

    monkeypatch.setattr(PhotographPredictor, "infer", infer)
    local = cohort_of(fundus_run, tmp_path, None)
    command = ["calibrate", str(local), "--model", str(fundus_run.package), "--site", SITE,
               "--output", str(tmp_path / "out"), "--device", "cpu", "--workers", "1"]  # fmt: skip
    with pytest.raises(SystemExit) as stopped:
        app(command)
    assert stopped.value.code == 130
    assert len(list((tmp_path / "out").rglob("case.json"))) >= 20
    assert not (tmp_path / "out" / "package").exists()
    assert not (tmp_path / "out" / "site.json").exists()
    with pytest.raises(SystemExit) as done:
        app(command)
    assert done.value.code == 0
    assert load_package(tmp_path / "out" / "package").record.profiles[SITE].n > 24


def test_a_case_that_was_not_reached_is_no_unanswered_one() -> None:
    answered = {"status": "ok", "logits": [0.1, 0.2], "duplicate_of": "", "ood_percentile": 1.0,
                "patient": "a", "case": "a"}  # fmt: skip
    pending = {"status": "pending", "duplicate_of": "", "case": "b"}
    with pytest.raises(InputError, match="1 of 2 cases were not reached"):
        cases_of([answered, pending], ["x", "y"], ["x", "y"])


def test_where_patients_are_answered_a_patient_is_one_case_with_its_severest_label() -> None:
    def record(patient: str, case: str, **more: object) -> dict[str, object]:
        logit = float(ord(patient[-1:] or "z"))
        return {"status": "ok", "logits": [0.0, logit], "duplicate_of": "", "patient": patient,
                "ood_percentile": 1.0, "case": case, **more}  # fmt: skip

    records = [
        record("a", "1"), record("a", "2"), record("a", "3", logits=None),
        record("b", "4"), record("b", "5"), record("", "6"), record("", "7"),
    ]  # fmt: skip
    labels = ["well", "", "ill", "well", "well", "ill", ""]
    slides = cases_of(records, labels, ["well", "ill"])
    assert slides.labels.tolist() == [0, -1, 0, 0, 1, -1]
    found = cases_of(records, labels, ["well", "ill"], of_patients=True)
    assert found.patients.tolist() == ["a", "b", "6", "7"]
    assert found.labels.tolist() == [1, 0, 1, -1]
    assert found.logits[:2, 1].tolist() == [97.0, 98.0]
    assert found.unanswered == 1


def test_an_onboarded_version_takes_no_alias_until_a_person_says_so(
    fundus_run: FundusRun, tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from offsite.evaluation.predictions.table import load_predictions

    predictions = load_predictions(fundus_run.run)
    run_id = log_run(store, "test", "run", job_key="key")
    register_package(store, "small", fundus_run.package, run_id, {"method": "erm"})
    keep_predictions(store, "small", "1", predictions, b"k" * 32)
    local = cohort_of(fundus_run, tmp_path, None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)  # in place of the option
    done = calibrate(
        local, "models:/small@candidate", SITE, tmp_path / "out", register=True, device="cpu"
    )
    assert done.version == "models:/small/2"
    client = client_of(store)
    assert str(find_version(client, "models:/small@candidate").version) == "1"
    tags = find_version(client, done.version).tags
    assert (tags["offsite.onboarded"], tags["offsite.onboarded_from"]) == (SITE, "1")
    kept = kept_predictions(store, "small", "2", predictions, b"k" * 32)
    assert kept is not None, "a later candidate is compared with it as with the version before"
    assert done.package is not None
    assert load_package(done.package).record.version == ""

    with pytest.raises(InputError, match="the gate decides on it"):
        promote_site_version(store, "models:/small/1", "Dr Example: seen in the pilot at the site")
    with pytest.raises(InputError, match="written reason"):
        promote_site_version(store, done.version, "because")
    assert champion_of(store, "small") is None
    promote_site_version(store, done.version, "Dr Example: seen in the pilot at the site")
    assert champion_of(store, "small") == "2"
    tags = find_version(client, "models:/small@champion").tags
    assert tags["gate.verdict"] == "overridden"
    said = f"the weights of version 1 (gate: not judged), set for {SITE}"
    assert said in tags["gate.01.onboarded"]


def test_what_cannot_be_registered_is_refused_before_anything_is_predicted(
    fundus_run: FundusRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    local = cohort_of(fundus_run, tmp_path, None)
    for model, words in (
        (str(fundus_run.package), "only a registered model has versions"),
        ("models:/small@champion", "needs its tracking store"),
    ):
        with pytest.raises(InputError, match=words):
            calibrate(local, model, SITE, tmp_path / "out", register=True, device="cpu")
    with pytest.raises(InputError, match="cannot name a profile"):
        calibrate(local, str(fundus_run.package), "a/b", tmp_path / "out", device="cpu")
    few = cohort_of(fundus_run, tmp_path, 6)
    with pytest.raises(InputError, match="too few"):
        calibrate(few, str(fundus_run.package), SITE, tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()
