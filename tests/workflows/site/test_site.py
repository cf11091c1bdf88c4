"""A site: checks against known truth, local settings, and nothing without labels."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from offsite.errors import InputError
from offsite.evaluation.tracking.champion import champion_of
from offsite.evaluation.tracking.kept_predictions import keep_predictions, kept_predictions
from offsite.evaluation.tracking.logging import log_run
from offsite.evaluation.tracking.registry import find_version, register_package
from offsite.evaluation.tracking.store import client_of
from offsite.preprocessing.synthetic.fundus.sites import CLINICS
from offsite.training.prediction.contract import ModelAnswer, Prepared
from offsite.workflows.package.folder import Package, load_package, write_package
from offsite.workflows.package.schema import POOLED, OperatingPoint
from offsite.workflows.package.temperature import tempered
from offsite.workflows.predict.answers.judgement import Judge
from offsite.workflows.predict.batch import BatchOptions
from offsite.workflows.predict.running import predict
from offsite.workflows.site.calibration import calibrate_site
from offsite.workflows.site.cases import LocalCases, cases_of
from offsite.workflows.site.local_settings import temperature_of
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


def simulated(package: Package, n: int, seed: int, sharpness: float, shift: float) -> LocalCases:
    """Cases whose logits, divided by ``sharpness``, are the truth; ``shift`` hides the severe."""
    rng = np.random.default_rng(seed)
    classes = len(package.record.classes)
    truth = rng.normal(0, 1.5, (n, classes))
    labels = np.array([rng.choice(classes, p=row) for row in tempered(truth, 1.0)])
    truth[:, 2:] -= shift
    patients = np.array([f"p{i}" for i in range(n)])
    return LocalCases(
        logits=truth * sharpness, labels=labels, patients=patients,
        percentiles=rng.uniform(0, 100, n), unanswered=0,
    )  # fmt: skip


def test_a_known_temperature_is_found_and_a_hidden_failure_is_seen(
    fundus_run: FundusRun, tmp_path: Path
) -> None:
    package = load_package(fundus_run.package)
    fair = calibrate_site(package, simulated(package, 400, 0, sharpness=2.0, shift=0.0), "new")
    found = fair.report["temperature"]
    assert found["low"] < 2.0 < found["high"]
    assert 1.7 < found["value"] < 2.3
    missed = calibrate_site(package, simulated(package, 100, 1, sharpness=2.0, shift=6.0), "new")
    name = next(name for name in missed.report["checks"] if name.startswith("sensitivity of ref"))
    assert missed.report["checks"][name]["verdict"] == "fails"
    assert missed.record is not None
    local = missed.record.profiles["new"].referral
    assert local is not None
    assert local.sensitivity is not None
    assert local.sensitivity.value >= 0.9, "the local threshold finds them again"
    written = write_package(tmp_path / "package", missed.record, package.weights, missed.reference)
    again = load_package(written)
    assert set(again.arrays("conformal/new")) == set(package.arrays("conformal/_pooled"))
    # Calibrated once more, the site's settings are replaced and no other one's are touched.
    twice = calibrate_site(again, simulated(package, 100, 2, sharpness=1.0, shift=0.0), "new")
    assert set(twice.reference) == set(missed.reference)
    for name, array in package.reference.items():
        assert np.array_equal(twice.reference[name], array)


def test_many_images_of_few_patients_set_no_local_threshold(fundus_run: FundusRun) -> None:
    package = load_package(fundus_run.package)
    cases = simulated(package, 100, 0, sharpness=1.0, shift=0.0)
    few = replace(cases, patients=np.array([f"p{i // 20}" for i in range(100)]))
    done = calibrate_site(package, few, "new")
    assert done.record is not None
    profile = done.record.profiles["new"]
    assert "5 patients with a positive case" in " ".join(profile.notes)
    assert profile.referral is not None
    assert profile.referral.inherited


def few_positives(package: Package, referable: int, urgent: int) -> LocalCases:
    """Eighty cases of as many patients, as they come at a clinic with few ill."""
    cases = simulated(package, 4000, 3, sharpness=1.5, shift=0.0)
    classes = np.array(package.record.classes)[cases.labels]
    is_urgent = np.isin(classes, package.record.decision.urgent)
    is_referable = np.isin(classes, package.record.decision.positive)
    rows = np.concatenate(
        [
            np.flatnonzero(is_urgent)[:urgent],
            np.flatnonzero(is_referable & ~is_urgent)[: referable - urgent],
            np.flatnonzero(~is_referable)[: 80 - referable],
        ]
    )
    return replace(
        cases, logits=cases.logits[rows], labels=cases.labels[rows],
        patients=cases.patients[rows], percentiles=np.full(80, 50.0),
    )  # fmt: skip


def with_both_thresholds(package: Package) -> Package:
    """The package with an urgent threshold for all sites; the small run had too few for one."""
    pooled = package.record.profiles[POOLED]
    urgent = OperatingPoint(threshold=0.3, origin="made up")
    profiles = {**package.record.profiles, POOLED: pooled.model_copy(update={"urgent": urgent})}
    return replace(package, record=package.record.model_copy(update={"profiles": profiles}))


def decisions(package: Package, cases: LocalCases, site: str) -> pd.Series:
    judge = Judge(package)
    answers = [
        judge.judge(ModelAnswer(logits=logits, embedding=None), site)[1].decision.value
        for logits in cases.logits
    ]
    return pd.Series(answers)


@pytest.mark.parametrize(
    ("referable", "urgent", "inherited"),
    [(8, 4, {"referral", "urgent"}), (30, 4, {"urgent"}), (40, 20, set()), (0, 0, {"referral", "urgent"})],
)  # fmt: skip
def test_what_local_cases_cannot_set_is_inherited_and_marked_and_no_site_gets_worse(
    fundus_run: FundusRun, tmp_path: Path, referable: int, urgent: int, inherited: set[str]
) -> None:
    package = with_both_thresholds(load_package(fundus_run.package))
    cases = few_positives(package, referable, urgent)
    done = calibrate_site(package, cases, "annex")
    assert done.record is not None
    profile, pooled = done.record.profiles["annex"], package.record.profile_of("annex")[1]
    points = {"referral": profile.referral, "urgent": profile.urgent}
    before = {"referral": pooled.referral, "urgent": pooled.urgent}
    assert {what for what, point in points.items() if point and point.inherited} == inherited
    for what in inherited:
        point, old = points[what], before[what]
        assert point is not None
        assert old is not None
        assert point.threshold == old.threshold
        assert any(f"no local {what} threshold" in note for note in profile.notes)
    written = write_package(tmp_path / "package", done.record, package.weights, done.reference)
    made = load_package(written)
    if inherited:  # a threshold holds on the probabilities that it was chosen on
        assert temperature_of(made, "annex") == temperature_of(package, pooled.calibration)
    old_answers, new_answers = (decisions(one, cases, "annex") for one in (package, made))
    if "urgent" in inherited:
        assert (new_answers[old_answers == "urgent"] == "urgent").all()
    if "referral" in inherited:
        assert "no_referral" not in set(new_answers), "nobody has checked the threshold here"
    again = calibrate_site(made, cases, "annex")  # what was inherited once stays marked
    assert again.record is not None
    assert again.record.profiles["annex"].referral == profile.referral


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
