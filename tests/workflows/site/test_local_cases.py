"""What cases of a known model set at a site: true temperatures are found, and nothing gets worse."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from offsite.preprocessing.synthetic.fundus.sites import CLINICS
from offsite.training.prediction.contract import ModelAnswer
from offsite.workflows.package.folder import Package, load_package, write_package
from offsite.workflows.package.schema import POOLED, OperatingPoint
from offsite.workflows.package.temperature import tempered
from offsite.workflows.predict.answers.judgement import Judge
from offsite.workflows.site.calibration import calibrate_site
from offsite.workflows.site.cases import LocalCases
from offsite.workflows.site.local_settings import temperature_of
from tests.workflows.conftest import FundusRun

SITE = CLINICS[2].name


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
