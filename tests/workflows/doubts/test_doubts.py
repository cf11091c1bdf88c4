"""The labels that most need a second look: found, shown safely, and decided on without a trace in the labels."""

import re
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from offsite.errors import InputError, InputErrors
from offsite.preprocessing.cohort.table import load_cohort
from offsite.preprocessing.fundus.grades import GRADES
from offsite.preprocessing.synthetic.fundus.cohort import (
    SyntheticFundusSettings,
    make_fundus_cohort,
)
from offsite.preprocessing.synthetic.fundus.sites import CLINICS
from offsite.training.frozen_images import FrozenImages
from offsite.training.heads.left_out import left_out_probabilities
from offsite.workflows.cli import app
from offsite.workflows.doubts.alike import groups_of, identical
from offsite.workflows.doubts.decisions import told, with_decisions
from offsite.workflows.doubts.expected import expected_wrong
from offsite.workflows.doubts.finding import Doubts, doubts_of
from offsite.workflows.doubts.writing import escaped, unescaped, write_doubts
from offsite.workflows.jobs.job import Job
from offsite.workflows.stages import images
from tests.workflows.patients import jobs

CLASSES = ("none", "mild", "severe")


def drawn(n: int = 240, seed: int = 0) -> tuple[FrozenImages, np.ndarray]:
    """Images whose features follow their true class, and that class."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    features = rng.normal(size=(n, 12)) + 2.0 * np.eye(3)[truth].repeat(4, axis=1)
    table = pd.DataFrame({
        "image": [f"i{number}.png" for number in range(n)],
        "slide": [f"i{number}" for number in range(n)],
        "patient": [f"p{number // 2}" for number in range(n)],
        "site": "north", "label": np.array(CLASSES)[truth],
        "content": [f"c{number}" for number in range(n)],
    })  # fmt: skip
    return FrozenImages(table, features, (None,) * n, unread=0), truth


def changed(found: FrozenImages, **columns: object) -> FrozenImages:
    return FrozenImages(found.table.assign(**columns), found.features, found.pictures, found.unread)


def test_labels_that_were_moved_by_one_stand_first() -> None:
    found, truth = drawn()
    rng = np.random.default_rng(1)
    moved = rng.random(len(truth)) < 0.2
    labels = np.where(moved, np.where(truth == 0, 1, truth - 1), truth)
    doubts = doubts_of(changed(found, label=np.array(CLASSES)[labels]), CLASSES, Path("job.yaml"))
    by_image = dict(zip(found.table["image"], moved, strict=True))
    hits = doubts.table["image"].map(by_image).to_numpy(bool)
    assert roc_auc_score(hits, doubts.table["loss"]) > 0.95
    right = dict(zip(found.table["image"], np.array(CLASSES)[truth], strict=True))
    suggested = doubts.table.loc[hits, "suggested"] == doubts.table.loc[hits, "image"].map(right)
    assert suggested.mean() > 0.9
    assert (doubts.table["loss"].diff().dropna() <= 0).all()
    assert [each.share for each in doubts.expected] == [None, None, None]


def test_a_patient_and_a_picture_judge_themselves_never() -> None:
    found, _ = drawn(60)
    table = found.table.copy()
    table.loc[59, "content"] = "c0"  # a picture of two patients joins them
    groups = groups_of(table)
    assert groups[0] == groups[1] == groups[59] == groups[58]
    assert len(set(groups)) == 29
    # A case with a feature of its own alone: only who had seen its group could answer by it.
    features = np.zeros((60, 30))
    features[np.arange(60), np.arange(60) // 2] = 1.0
    labels = np.repeat(np.arange(30) % 2, 2)
    names = np.repeat([f"p{n}" for n in range(30)], 2)
    given = left_out_probabilities(features, labels, names, 2)
    assert np.ptp(given[:, 0]) < 0.2  # from the fold's class shares, and not from the patient
    leaking = left_out_probabilities(features, labels, np.arange(60).astype(str), 2)
    assert np.ptp(leaking[:, 0]) > 0.5


def test_the_share_of_wrong_labels_is_that_of_identical_pictures() -> None:
    ranked = pd.DataFrame({
        "content": ["x", "x", "y", "z", "z", "z", "u", "v", "v"],
        "label": ["a", "b", "a", "a", "a", "b", "a", "c", "c"],
    })  # fmt: skip
    copies = identical(ranked)
    assert copies["wrong"].round(3).tolist() == [0.5, 0.5, 0.333, 0.333, 0.667, 0.0, 0.0]
    assert copies["copies"].tolist() == [1, 1, 2, 2, 2, 1, 1]
    whole = expected_wrong(ranked, copies, 9)
    assert whole.told == 7
    assert whole.share == pytest.approx((0.5 + 0.5 + 1 / 3 + 1 / 3 + 2 / 3) / 7)
    assert whole.low is not None
    assert whole.high is not None
    assert 0 <= whole.low < whole.share < whole.high <= 1
    assert expected_wrong(ranked.iloc[[2, 6]], copies, 2).share is None
    agreed = expected_wrong(ranked.iloc[[7, 8]], copies, 2)
    assert agreed.share == 0
    assert agreed.high is not None
    assert agreed.high > 0


def test_identical_pictures_of_two_labels_are_told_with_their_copies() -> None:
    found, truth = drawn()
    table = found.table.copy()
    features = found.features.copy()
    for copy, of in ((100, 0), (102, 2)):
        table.loc[copy, "content"], features[copy] = table.loc[of, "content"], features[of]
    table.loc[100, "label"] = CLASSES[(truth[0] + 1) % 3]
    table.loc[102, "label"] = table.loc[2, "label"]
    doubts = doubts_of(FrozenImages(table, features, found.pictures, 3), CLASSES, Path("j"))
    rows = doubts.table.set_index("image")
    assert rows.loc["i100.png", "identical"] == "i0.png"
    assert rows.loc["i0.png", "conflict"]
    assert not rows.loc["i102.png", "conflict"]
    assert not rows.loc["i50.png", "conflict"]
    assert doubts.table["image"].tolist().index("i100.png") < 20
    assert doubts.unread == 3


def test_a_class_of_few_patients_is_not_judged_and_one_class_is_none() -> None:
    found, truth = drawn()
    few = np.flatnonzero(truth == 2)[4:]
    labels = found.table["label"].where(~found.table.index.isin(few), "none")
    doubts = doubts_of(changed(found, label=labels), CLASSES, Path("job.yaml"))
    assert doubts.rare == {"severe": 4}
    assert "severe" not in set(doubts.table["label"])
    with pytest.raises(InputError, match="fewer than two classes") as caught:
        doubts_of(changed(found, label="none"), CLASSES, Path("job.yaml"))
    assert caught.value.code == "too_few_patients"


def listed(folder: Path, image: str, site: str = "north") -> Doubts:
    picture = folder / "picture.png"
    cv2.imwrite(str(picture), np.full((600, 900, 3), 120, np.uint8))
    table = pd.DataFrame({
        "image": [image, "b.png", "c.png"], "slide": ["a", "b", "c"], "patient": "p", "site": site,
        "label": ["mild", "none", "none"], "suggested": ["none", "mild", "mild"],
        "loss": [3.0, 2.0, 1.0], "probability": [0.05, 0.1, 0.3], "identical": ["", "c.png", "b.png"],
        "conflict": False, "picture": [picture, None, folder / "gone.png"],
    })  # fmt: skip
    return Doubts(table, (), 0, {})


def test_a_page_shows_what_it_is_told_as_text_and_works_alone(tmp_path: Path) -> None:
    doubts = listed(tmp_path, "<script>alert(1)</script>.png", site='"><img src=x>')
    page = write_doubts(doubts, tmp_path / "doubts", title="A & B <b>", most=3).read_text()
    assert "<script" not in page
    assert "<img src=x>" not in page
    assert "A &amp; B &lt;b&gt;" in page
    assert not re.search(r"(src|href)=[\"'](?!data:)", page)
    assert page.count("data:image/jpeg;base64,") == 1
    assert page.count("no picture") == 2
    assert len(page) < 40_000  # a thumbnail, not the picture


@pytest.mark.parametrize("name", ["=1+1.png", "  -x.png", "＝SUM.png", "'a.png", "plain.png"])
def test_a_cell_is_no_formula_and_comes_back(tmp_path: Path, name: str) -> None:
    assert unescaped(str(escaped(name))) == name
    write_doubts(listed(tmp_path, name), tmp_path / "doubts", title="x", most=3)
    text = (tmp_path / "doubts" / "doubts.csv").read_text("utf-8-sig")
    assert not re.search(r"(^|,)\s*[=+\-@＝]", text, re.MULTILINE)


def test_a_table_that_was_filled_in_is_not_overwritten(tmp_path: Path) -> None:
    doubts = listed(tmp_path, "a.png")
    folder = tmp_path / "doubts"
    write_doubts(doubts, folder, title="x", most=3)
    write_doubts(doubts, folder, title="x", most=2)
    table = folder / "doubts.csv"
    assert table.read_text("utf-8-sig").count("\n") == 3
    page = (folder / "doubts.html").read_bytes()
    table.write_text(table.read_text("utf-8-sig").replace(",,", ",none,", 1), "utf-8-sig")
    with pytest.raises(InputError) as caught:
        write_doubts(doubts, folder, title="y", most=3)
    assert caught.value.code == "not_ours"
    assert (folder / "doubts.html").read_bytes() == page


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    table = pd.DataFrame({
        "image": ["a.png", "b.png", "c.png"], "patient": list("pqr"), "site": "north",
        "label": ["mild", "none", "severe"],
    })  # fmt: skip
    for image in table["image"]:
        (tmp_path / image).write_bytes(b"x")
    table.to_csv(tmp_path / "cohort.csv", index=False)
    return tmp_path / "cohort.csv"


def test_decisions_become_a_column_and_no_label_changes(cohort: Path, tmp_path: Path) -> None:
    decided = tmp_path / "back.csv"  # as a spreadsheet of another country saves it
    decided.write_text("rank;image;label;decision\r\n1;a.png;mild;none\r\n2;b.png;none;unsure\r\n"
                       "3;c.png;severe;\r\n", "utf-8-sig")  # fmt: skip
    done = CliRunner().invoke(app, [
        "cohort", "read", str(cohort), "--layout", "table", "--classes", ",".join(CLASSES),
        "--decisions", str(decided), "-o", str(tmp_path / "new.csv"),
    ])  # fmt: skip
    assert done.exit_code == 0, done.output
    new = pd.read_csv(tmp_path / "new.csv", keep_default_na=False)
    assert new["label"].tolist() == ["mild", "none", "severe"]
    assert new["decision"].tolist() == ["none", "unsure", ""]
    assert "2 cases were decided on: 1 otherwise than they are labelled, 1 unsure" in " ".join(
        done.output.split()
    )
    again = load_cohort(tmp_path / "new.csv", CLASSES)
    with pytest.raises(InputError, match="column 'decision' already") as caught:
        with_decisions(again, decided)
    assert caught.value.code == "column_there"
    assert told(again).startswith("2 cases")


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ("d.png,mild,none", "unknown_image"),
        ("a.png,severe,none", "other_label"),
        ("a.png,mild,nothing", "unknown_decision"),
        ("a.png,mild,severe", "decided_twice"),
    ],
)
def test_a_decision_that_fits_nothing_is_refused_with_its_row(
    cohort: Path, tmp_path: Path, row: str, code: str
) -> None:
    decided = tmp_path / "back.csv"
    decided.write_text(f"image,label,decision\na.png,mild,none\nb.png,none,\n{row}\n")
    with pytest.raises(InputErrors) as caught:
        with_decisions(load_cohort(cohort, CLASSES), decided)
    (fault,) = caught.value.faults
    assert (fault.code, fault.row, fault.file) == (code, 4, str(decided))


def test_a_table_without_decisions_is_refused(cohort: Path, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("image,label\na.png,mild\n")
    with pytest.raises(InputError, match="missing column decision"):
        with_decisions(load_cohort(cohort, CLASSES), tmp_path / "other.csv")


def test_a_job_of_photographs_is_listed_once_it_is_prepared(tmp_path: Path) -> None:
    config = jobs.photographs(tmp_path, ("linear",))
    call = ["cohort", "doubts", str(config), "--most", "7"]
    early = CliRunner().invoke(app, call)
    assert isinstance(early.exception, InputError)
    assert early.exception.code == "not_prepared"
    images.run(Job.load(config), "prepare")
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.output
    rows = pd.read_csv(tmp_path / "results" / "doubts" / "doubts.csv", encoding="utf-8-sig")
    assert rows["rank"].tolist() == list(range(1, 8))
    assert set(rows["label"]) <= set(GRADES)
    page = (tmp_path / "results" / "doubts" / "doubts.html").read_text()
    assert page.count("data:image/jpeg") == 7
    assert "unknown: no picture among them" in page


@pytest.mark.slow
def test_a_job_of_slides_is_listed_once_it_is_embedded(tmp_path: Path) -> None:
    config = jobs.slides(tmp_path)
    job = Job.load(config)
    for stage in ("tile", "embed"):
        images.run(job, stage)
    done = CliRunner().invoke(app, ["cohort", "doubts", str(config), "--most", "5"])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "results" / "doubts" / "doubts.html").read_text()
    assert page.count("data:image/jpeg") == 5


@pytest.mark.slow
def test_grades_of_synthetic_photographs_that_were_moved_are_found(tmp_path: Path) -> None:
    settings = SyntheticFundusSettings(
        clinics=CLINICS[:2], patients_per_site=150, px=96, graders=False
    )
    config = jobs.photographs(tmp_path, ("linear",))
    table = make_fundus_cohort(tmp_path / "cohort", settings)
    rows = pd.read_csv(table, dtype=str, keep_default_na=False)
    rng = np.random.default_rng(0)
    grades = rows["label"].map({name: n for n, name in enumerate(GRADES)}).to_numpy()
    moved = rng.random(len(rows)) < 0.2
    up = (rng.random(len(rows)) < 0.5) & (grades < 4) | (grades == 0)
    rows["label"] = np.array(GRADES)[np.where(moved, np.where(up, grades + 1, grades - 1), grades)]
    rows.to_csv(table, index=False)
    config.write_text(
        config.read_text()
        .replace(f"- {CLINICS[2].name}", f"- {CLINICS[1].name}")
        .replace("px: 64", "px: 96")
    )
    images.run(Job.load(config), "prepare")
    done = CliRunner().invoke(app, ["cohort", "doubts", str(config), "--most", "5000"])
    assert done.exit_code == 0, done.output
    found = pd.read_csv(tmp_path / "results" / "doubts" / "doubts.csv", encoding="utf-8-sig")
    hits = found["image"].map(dict(zip(rows["image"], moved, strict=True))).to_numpy(bool)
    assert roc_auc_score(hits, -found["rank"]) > 0.8
    assert hits[:30].mean() > 0.5
