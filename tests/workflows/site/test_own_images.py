"""A refitted site's own cases set what is foreign there, and what is no such image stays foreign."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from offsite.evaluation.ood.detector import ReferencedDetector
from offsite.evaluation.ood.gaussian_detectors import Mahalanobis
from offsite.training.heads.refit import refit
from offsite.training.heads.site_sums import SiteSums
from offsite.training.prediction.codes import Code
from offsite.training.prediction.contract import ModelAnswer
from offsite.workflows.package.fitting import under
from offsite.workflows.package.folder import Package, load_package, write_package
from offsite.workflows.package.trunk_distance import SCORES, reference_of
from offsite.workflows.predict.answers.judgement import Judge
from offsite.workflows.predict.answers.likeness import EMBEDDING_SCORES
from offsite.workflows.site.calibration import calibrate_site
from offsite.workflows.site.cases import LocalCases
from tests.workflows.packages import small_record, small_weights

WIDE = 20


def photographs(seed: int, n: int, camera: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings whose first numbers show the grade; another camera moves ten others."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 3, n)
    x = draw.normal(size=(n, WIDE))
    x[:, 0] += 2 * labels - camera / 3
    x[:, 1] += 2 * labels * (1 - camera / 6)
    x[:, 10:] += camera
    return x, labels


def mosaics(seed: int, n: int) -> np.ndarray:
    """What is no such photograph: all numbers are elsewhere."""
    return np.random.default_rng(seed).normal(size=(n, WIDE)) * 4 + 12


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    x, labels = photographs(0, 600)
    sums = SiteSums.of(x, labels, np.repeat(["north", "south"], 300), 3)
    unseen, _ = photographs(1, 200)
    detector = Mahalanobis.fit(x, np.zeros((600, 3)), labels)
    referenced = ReferencedDetector.of(detector, detector.score(unseen, np.zeros((200, 3))))
    reference = {
        **under(
            "trunk", {**sums.arrays(), "sites": np.array(sums.sites), "penalty": np.array(0.3)}
        ),
        **under(f"{SCORES}/_pooled", reference_of(sums, unseen)),
        **under("ood", referenced.to_arrays()),
    }
    folder = tmp_path_factory.mktemp("package") / "package"
    write_package(folder, small_record(), small_weights(), reference)
    return load_package(folder)


def answers(x: np.ndarray) -> list[ModelAnswer]:
    return [ModelAnswer(logits=np.zeros(3), embedding=row) for row in x]


def foreign(judge: Judge, x: np.ndarray, site: str) -> float:
    codes = [judge.judge(answer, site)[1].code for answer in answers(x)]
    return float(np.mean([code is Code.OUT_OF_DISTRIBUTION for code in codes]))


def refitted(package: Package, folder: Path) -> Package:
    x, labels = photographs(2, 100, camera=6.0)
    head = refit(_sums(package).weighted(), *photographs(3, 60), np.arange(60), penalty=0.3).head
    local = LocalCases(
        logits=head.logits(x), labels=labels, patients=np.arange(100).astype(str),
        percentiles=np.full(100, 100.0), unanswered=0, embeddings=x,
    )  # fmt: skip
    done = calibrate_site(package, local, "west", refit=True)
    assert done.record is not None
    assert done.report["refit"]["adopted"], done.report["refit"]
    return load_package(write_package(folder, done.record, package.weights, done.reference))


def _sums(package: Package) -> SiteSums:
    arrays = package.arrays("trunk")
    return SiteSums.from_arrays(arrays, arrays["sites"])


def test_another_camera_is_foreign_until_the_head_is_refitted_there(
    package: Package, tmp_path: Path
) -> None:
    others, _ = photographs(4, 200, camera=6.0)
    assert foreign(Judge(package), others, "west") == 1.0
    judge = Judge(refitted(package, tmp_path / "made"))
    assert foreign(judge, others, "west") < 0.1
    assert foreign(judge, others, "elsewhere") == 1.0
    assert foreign(judge, mosaics(5, 100), "west") == 1.0


def test_what_is_foreign_at_a_refitted_site_is_said_of_its_own_images(
    package: Package, tmp_path: Path
) -> None:
    judge = Judge(refitted(package, tmp_path / "made"))
    columns, decided = judge.judge(answers(mosaics(6, 1))[0], "west")
    assert columns["ood_percentile"] == columns["trunk_percentile"] == 100.0
    assert decided.reasons[0].startswith("unlike the site's own images")


def test_calibrated_again_without_a_refit_the_training_images_count_again(
    package: Package, tmp_path: Path
) -> None:
    made = refitted(package, tmp_path / "made")
    x, labels = photographs(2, 100, camera=6.0)
    local = LocalCases(logits=np.zeros((100, 3)), labels=labels,
                       patients=np.arange(100).astype(str), percentiles=np.full(100, 100.0),
                       unanswered=0, embeddings=x)  # fmt: skip
    again = calibrate_site(made, local, "west")
    kept = (f"{EMBEDDING_SCORES}/west", f"{SCORES}/west")
    assert any(name.startswith(kept) for name in made.reference)
    assert not any(name.startswith(kept) for name in again.reference)


def test_either_distance_is_enough_and_both_are_told(package: Package) -> None:
    """A case whose embedding is at home while the trunk sees something else, as slides may be."""
    judge = Judge(package)
    near, far = photographs(7, 40)[0], mosaics(8, 40)
    found = [
        judge.judge(replace(answer, trunk=seen), "north")
        for answer, seen in zip(answers(near), far, strict=True)
    ]
    assert np.mean([columns["ood_percentile"] < 99 for columns, _ in found]) > 0.9
    assert all(columns["trunk_percentile"] == 100 for columns, _ in found)
    assert all(decided.code is Code.OUT_OF_DISTRIBUTION for _, decided in found)
    only = [reasons for c, d in found if c["ood_percentile"] < 99 for reasons in d.reasons[:1]]
    assert only[0] == "unlike the training images by its features (percentile 100.0)"


def test_unseen_images_of_the_training_sites_are_rarely_foreign(package: Package) -> None:
    assert foreign(Judge(package), photographs(9, 400)[0], "north") < 0.05


def test_sums_of_all_sites_together_still_refit_and_tell_no_distance(
    package: Package, tmp_path: Path
) -> None:
    """The layout of packages before sites were kept apart."""
    old = {k: v for k, v in package.reference.items() if not k.startswith("trunk")}
    arrays = {**_sums(package).weighted().arrays(), "penalty": np.array(0.3)}
    write_package(tmp_path / "old", small_record(), small_weights(), old | under("trunk", arrays))
    made = load_package(tmp_path / "old")
    columns, _ = Judge(made).judge(answers(mosaics(5, 1))[0], "north")
    assert columns["trunk_percentile"] is None
    assert columns["ood_percentile"] == 100
    x, labels = photographs(2, 100, camera=6.0)
    local = LocalCases(logits=np.zeros((100, 3)), labels=labels,
                       patients=np.arange(100).astype(str), percentiles=np.full(100, 100.0),
                       unanswered=0, embeddings=x)  # fmt: skip
    assert calibrate_site(made, local, "west", refit=True).report["refit"]["adopted"]
