"""A head refitted at a site: adopted where it helps, refused where it does not, used by predict."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax

from offsite.errors import InputError
from offsite.training.heads.refit import GradedHead, refit
from offsite.training.heads.sums import RowSums
from offsite.training.prediction.contract import ModelAnswer
from offsite.workflows.package.fitting import under
from offsite.workflows.package.folder import Package, load_package, write_package
from offsite.workflows.package.heads import head_of, sums_of_head
from offsite.workflows.predict.answers.judgement import Judge
from offsite.workflows.predict.batch import BatchOptions
from offsite.workflows.predict.running import predict
from offsite.workflows.site.calibration import calibrate_site
from offsite.workflows.site.cases import LocalCases
from offsite.workflows.site.refitting import check_can_refit, refit_at
from offsite.workflows.site.stage import calibrate
from tests.workflows.conftest import FundusRun
from tests.workflows.packages import small_record, small_weights
from tests.workflows.site.test_site import SITE, cohort_of


def hospital(seed: int, n: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 3, n)
    x = draw.normal(size=(n, 20))
    x[:, 0] += 2 * labels - shift
    x[:, 1] += 2 * labels * (1 - shift)
    return x, labels


def shipped(x: np.ndarray, labels: np.ndarray) -> tuple[RowSums, GradedHead]:
    sums = RowSums.of(x, labels, np.ones(len(x)), 3)
    return sums, refit(sums, x[:60], labels[:60], np.arange(60), penalty=0.3).head


@pytest.fixture(scope="module")
def head() -> tuple[RowSums, GradedHead]:
    return shipped(*hospital(0, 600))


@pytest.fixture
def package(tmp_path: Path, head: tuple[RowSums, GradedHead]) -> Package:
    reference = under("trunk", {**head[0].arrays(), "penalty": np.array(0.3)})
    write_package(tmp_path / "package", small_record(), small_weights(), reference)
    return load_package(tmp_path / "package")


def cases(head: GradedHead, x: np.ndarray, labels: np.ndarray) -> LocalCases:
    return LocalCases(
        logits=head.logits(x),
        labels=labels,
        patients=np.arange(len(x)).astype(str),
        percentiles=np.full(len(x), 50.0),
        unanswered=0,
        embeddings=x,
    )


@pytest.fixture
def adopted(
    package: Package, head: tuple[RowSums, GradedHead], tmp_path: Path
) -> tuple[dict[str, Any], Package]:
    """The report of a refit at a site that differs, and the package that was made of it."""
    done = calibrate_site(package, local_cases(head[1]), "west", refit=True)
    assert done.record is not None
    write_package(tmp_path / "made", done.record, package.weights, done.reference)
    return done.report["refit"], load_package(tmp_path / "made")


def local_cases(head: GradedHead) -> LocalCases:
    return cases(head, *hospital(1, 100, shift=2.0))


def test_it_is_adopted_where_the_site_differs_and_predict_then_uses_it(
    package: Package, head: tuple[RowSums, GradedHead], adopted: tuple[dict[str, Any], Package]
) -> None:
    report, made = adopted
    assert report["adopted"]
    assert report["as_shipped"]["at_least"] > 0
    assert made.record.profiles["west"].refit == report
    judge = Judge(made)
    x, labels = hospital(2, 300, shift=2.0)
    answers = [
        ModelAnswer(logits=logits, embedding=row)
        for logits, row in zip(head[1].logits(x), x, strict=True)
    ]
    names = np.array(package.record.classes)

    def right(site: str) -> float:
        said = [judge.judge(answer, site)[0]["prediction"] for answer in answers]
        return float((np.array(said) == names[labels]).mean())

    assert right("west") > right("elsewhere") + 0.1
    raw = judge.judge(answers[0], "west")[0]["logits"]
    np.testing.assert_allclose(raw, answers[0].logits, atol=1e-5)


def test_it_is_refused_where_the_site_is_like_the_others(
    package: Package, head: tuple[RowSums, GradedHead]
) -> None:
    refused = 0
    for seed in range(10):
        judged = refit_at(package, cases(head[1], *hospital(50 + seed, 60)), "west")
        refused += not judged.adopted
    assert refused >= 8


def test_permuted_labels_are_refused(package: Package, head: tuple[RowSums, GradedHead]) -> None:
    for seed in range(20):
        x, labels = hospital(20 + seed, 60, shift=1.0)
        shuffled = np.random.default_rng(seed).permutation(labels)
        done = calibrate_site(package, cases(head[1], x, shuffled), "west", refit=True)
        assert not done.report["refit"]["adopted"], done.report["refit"]
        assert "head/west/slope" not in done.reference
        assert done.record is not None
        assert done.record.profiles["west"].refit is not None


@pytest.mark.slow
def test_permuted_labels_are_refused_at_the_rate_that_is_promised(
    package: Package, head: tuple[RowSums, GradedHead]
) -> None:
    refused = 0
    for seed in range(100):
        x, labels = hospital(500 + seed, 60, shift=1.0)
        shuffled = np.random.default_rng(seed).permutation(labels)
        refused += not refit_at(package, cases(head[1], x, shuffled), "west").adopted
    assert refused >= 95


def test_calibrated_again_without_a_refit_the_site_loses_its_head(
    head: tuple[RowSums, GradedHead], adopted: tuple[dict[str, Any], Package]
) -> None:
    again = calibrate_site(adopted[1], local_cases(head[1]), "west")
    assert again.record is not None
    assert not [name for name in again.reference if name.startswith("head/west")]
    assert again.record.profiles["west"].refit is None


def test_what_cannot_be_refitted_is_refused_before_anything_is_predicted(
    package: Package, tmp_path: Path
) -> None:
    check_can_refit(package)
    with pytest.raises(InputError, match="sums") as caught:
        check_can_refit(replace(package, reference={}))
    assert caught.value.code == "no_sums"
    unordered = package.record.model_copy(update={"ordinal": False})
    with pytest.raises(InputError, match="order"):
        check_can_refit(replace(package, record=unordered))


def test_the_command_refits_a_trained_model(fundus_run: FundusRun, tmp_path: Path) -> None:
    """The package of any method carries the sums, here of a network trained by steps."""
    before = load_package(fundus_run.package)
    sums = sums_of_head(before)
    assert sums is not None
    assert sums.rows.weights.sum() == pytest.approx(1)
    local = cohort_of(fundus_run, tmp_path, None)
    where = tmp_path / "out"
    done = calibrate(local, str(fundus_run.package), SITE, where, device="cpu", refit=True)
    report = done.report["refit"]
    assert report["made_from"] == before.digest
    assert report["adopted"] == (
        min(report[name]["at_least"] for name in ("as_shipped", "class_shares_alone")) > 0
    )
    assert done.package is not None
    made = load_package(done.package)
    assert (head_of(made.arrays(f"head/{SITE}")) is not None) == report["adopted"]
    predict([local], str(done.package), BatchOptions(output=tmp_path / "again"), device="cpu")
    rows = pd.read_csv(tmp_path / "again" / "results.csv", keep_default_na=False)
    assert set(rows.loc[rows["status"].isin(["ok", "review"]), "site_profile"]) == {SITE}


def test_a_package_of_the_first_schema_still_loads(tmp_path: Path) -> None:
    write_package(tmp_path / "old", small_record(schema_version=1), small_weights(), {})
    assert load_package(tmp_path / "old").record.schema_version == 1


def test_losses_are_of_the_cases_that_a_head_did_not_see(
    package: Package, head: tuple[RowSums, GradedHead]
) -> None:
    x, labels = hospital(3, 80, shift=2.0)
    judged = refit_at(package, cases(head[1], x, labels), "west")
    seen = -log_softmax(judged.refit.head.logits(x), axis=1)[np.arange(80), labels].mean()
    assert judged.report["log_loss"] > seen
