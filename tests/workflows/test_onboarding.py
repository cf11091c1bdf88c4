"""Onboarding a site: checks against known truth, local settings, and nothing without labels."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from preprocessing.errors import InputError
from preprocessing.synthetic.fundus_sites import CLINICS
from tests.workflows.conftest import FundusRun
from workflows.onboarding import LocalCases, onboard
from workflows.onboarding_stage import calibrate
from workflows.package.folder import Package, load_package, write_package
from workflows.package.temperature import tempered
from workflows.predict.batch import BatchOptions
from workflows.predict.running import predict

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
    assert json.loads((tmp_path / "out" / "onboarding.json").read_text()) == done.report
    assert "local cases" in (done.package / "card.md").read_text()

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
    fair = onboard(package, simulated(package, 400, 0, sharpness=2.0, shift=0.0), "new")
    found = fair.report["temperature"]
    assert found["low"] < 2.0 < found["high"]
    assert 1.7 < found["value"] < 2.3
    missed = onboard(package, simulated(package, 100, 1, sharpness=2.0, shift=6.0), "new")
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
    # Onboarded once more, the site's settings are replaced and no other one's are touched.
    twice = onboard(again, simulated(package, 100, 2, sharpness=1.0, shift=0.0), "new")
    assert set(twice.reference) == set(missed.reference)
    for name, array in package.reference.items():
        assert np.array_equal(twice.reference[name], array)
