"""A table of one's own, measured at every site, or refused with what to do."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import offsite
from offsite.evaluation.evaluating import evaluate as evaluate_predictions
from offsite.evaluation.report.settings import ReportSettings

NAMES = {"site": "hospital", "patient": "case", "label": "truth", "score": "p"}
CLASSES = ["benign", "malignant"]


@pytest.fixture
def frame() -> pd.DataFrame:
    """Eighty rows of two hospitals; the score ranks better at one of them."""
    rng = np.random.default_rng(0)
    ill = np.arange(80) % 2
    noise = np.where(np.arange(80) < 40, 0.1, 0.4)
    return pd.DataFrame({
        "hospital": ["north"] * 40 + ["south"] * 40,
        "case": np.arange(80) // 2,
        "truth": np.array(CLASSES)[ill],
        "p": np.clip(0.3 + 0.4 * ill + rng.normal(0, noise), 0.01, 0.99),
    })  # fmt: skip


def measured(report: offsite.Report) -> pd.DataFrame:
    return report.per_site[["split", "site", "metric", "value", "low", "high", "n", "n_patients"]]


def refusal(*given: Any, **more: Any) -> offsite.InputError:
    with pytest.raises(offsite.InputError) as caught:
        offsite.evaluate(*given, **more)
    return caught.value


def test_the_numbers_are_those_of_the_command_on_the_same_rows(
    frame: pd.DataFrame, tmp_path: Path
) -> None:
    ours = pd.DataFrame({
        "image": [f"row {number}" for number in range(1, 81)], "patient": frame["case"].astype(str),
        "site": frame["hospital"], "split": "test", "label": frame["truth"],
        "prob_benign": 1 - frame["p"], "prob_malignant": frame["p"],
    })  # fmt: skip
    ours.to_parquet(tmp_path / "ours.parquet")
    light = ReportSettings(parts=())
    command = evaluate_predictions(tmp_path / "ours.parquet", tmp_path / "evaluation", light)
    report = offsite.evaluate(frame, classes=CLASSES, columns=NAMES)
    columns = list(measured(report).columns)
    pd.testing.assert_frame_equal(
        measured(report).reset_index(drop=True), command.per_site[columns], check_dtype=False
    )


def test_a_file_with_the_same_names_gives_the_same_numbers(
    frame: pd.DataFrame, tmp_path: Path
) -> None:
    frame.to_csv(tmp_path / "mine.csv", index=False)
    frame.to_parquet(tmp_path / "mine.parquet")
    wanted = measured(offsite.evaluate(frame, classes=CLASSES, columns=NAMES))
    frame.to_csv(tmp_path / "excel.csv", index=False, sep=";", encoding="utf-16")
    for name in ("mine.csv", "mine.parquet", "excel.csv"):
        found = measured(offsite.evaluate(tmp_path / name, classes=CLASSES, columns=NAMES))
        pd.testing.assert_frame_equal(found, wanted, check_exact=False, rtol=1e-12)


@pytest.mark.parametrize("as_number", [int, float, bool, str])
def test_labels_may_be_numbers_of_the_classes_and_the_report_says_so(
    frame: pd.DataFrame, as_number: type
) -> None:
    numbered = frame.assign(truth=[as_number(label == "malignant") for label in frame["truth"]])
    if as_number is str:
        numbered["truth"] = (frame["truth"] == "malignant").astype(int).astype(str)
    report = offsite.evaluate(numbered, classes=CLASSES, columns=NAMES)
    assert "The labels are numbers of classes: 0 is benign, 1 is malignant." in report.notes
    named = offsite.evaluate(frame, classes=CLASSES, columns=NAMES)
    pd.testing.assert_frame_equal(measured(report), measured(named))


def test_probabilities_may_bear_the_names_of_their_classes(frame: pd.DataFrame) -> None:
    wide = frame.assign(benign=1 - frame["p"], malignant=frame["p"]).drop(columns="p")
    names = {name: column for name, column in NAMES.items() if name != "score"}
    pd.testing.assert_frame_equal(
        measured(offsite.evaluate(wide, classes=CLASSES, columns=names)),
        measured(offsite.evaluate(frame, classes=CLASSES, columns=NAMES)),
        check_exact=False, rtol=1e-12,
    )  # fmt: skip


def test_a_task_of_several_classes_is_measured_at_each_site() -> None:
    rng = np.random.default_rng(1)
    shares = rng.dirichlet(np.ones(3), 60)
    frame = pd.DataFrame(shares, columns=["prob_none", "prob_mild", "prob_severe"]).assign(
        site=["a", "b"] * 30, patient=range(60), label=["none", "mild", "severe"] * 20
    )
    report = offsite.evaluate(frame, task={"referable": ["mild", "severe"]})
    assert report.classes == ("none", "mild", "severe")
    rows = report.per_site.query("metric == 'referable/sensitivity' and site in ['a', 'b']")
    for site, value in zip(rows["site"], rows["value"], strict=True):
        at = (frame["site"] == site) & (frame["label"] != "none")
        assert value == pytest.approx((1 - shares[at, 0] >= 0.5).mean())
    single = offsite.evaluate(frame, task="severe").per_site["metric"]
    assert "severe/sensitivity" in set(single)


def test_the_seed_moves_the_intervals_and_not_the_values(frame: pd.DataFrame) -> None:
    one, again, other = (
        offsite.evaluate(frame, CLASSES, NAMES, seed=seed).per_site for seed in (0, 0, 1)
    )
    pd.testing.assert_frame_equal(one, again)
    pd.testing.assert_series_equal(one["value"], other["value"])
    assert not one["low"].equals(other["low"])


def test_a_report_is_saved_with_its_page_and_what_was_taken_for_granted(
    frame: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = offsite.evaluate(frame, CLASSES, {**NAMES, "patient": None})
    page = report.save(tmp_path / "report").read_text(encoding="utf-8")
    for note in report.notes:
        assert note in page
    assert "Every row is taken for another patient." in report.notes
    tables = {path.stem for path in (tmp_path / "report").glob("*.csv")}
    assert report.tables.keys() == tables
    pd.testing.assert_frame_equal(
        report.tables["per_site"][["site", "metric", "value"]],
        report.per_site[["site", "metric", "value"]].reset_index(drop=True),
    )
    report.show()
    shown = capsys.readouterr().out
    assert "north" in shown
    assert "intervals over rows" in shown
    assert "<table" in report._repr_html_()


def test_a_folder_with_other_files_is_left_alone(frame: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    report = offsite.evaluate(frame, CLASSES, NAMES)
    with pytest.raises(offsite.InputError, match="holds other files"):
        report.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("needed", ["site", "patient", "label"])
def test_a_column_that_is_not_named_is_asked_for(frame: pd.DataFrame, needed: str) -> None:
    names = {name: column for name, column in NAMES.items() if name != needed}
    error = refusal(frame, CLASSES, names)
    assert error.code == "unclear_columns"
    assert f"columns={{'{needed}': '...'}}" in error.remedy
    assert "hospital, case, truth, p" in error.remedy


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"columns": NAMES}, "the classes are unclear"),
        ({"classes": ["benign"], "columns": NAMES}, "the classes are unclear"),
        ({"classes": ["ill", "ill"], "columns": NAMES}, "a class is named twice"),
        ({"classes": ["a", "b", "c"], "columns": NAMES}, "no probability of class 'a'"),
        ({"classes": CLASSES, "columns": {**NAMES, "site": "hospitals"}}, "Did you mean hospital?"),
        ({"classes": CLASSES, "columns": {**NAMES, "centre": "p"}}, "does not ask for"),
        ({"classes": CLASSES, "columns": {**NAMES, "site": None}}, "no column for 'site'"),
        ({"classes": ["well", "ill"], "columns": NAMES}, "'benign' is not a class"),
        ({"classes": CLASSES, "columns": NAMES, "task": "severe"}, "not a class"),
        ({"classes": CLASSES, "columns": NAMES, "task": []}, "cannot be used"),
        ({"classes": CLASSES, "columns": NAMES, "seed": -1}, "cannot be used"),
    ],
)  # fmt: skip
def test_what_is_unclear_is_refused_with_a_remedy(
    frame: pd.DataFrame, given: dict[str, Any], said: str
) -> None:
    error = refusal(frame, **given)
    assert said in str(error)
    assert error.remedy


@pytest.mark.parametrize("value", [1.5, -0.1, float("nan"), float("inf")])
def test_what_is_no_probability_is_named_by_its_row(frame: pd.DataFrame, value: float) -> None:
    frame.loc[3, "p"] = value
    error = refusal(frame, CLASSES, NAMES)
    assert (error.code, error.row, error.column) == ("not_probabilities", 5, "p")


def test_other_things_than_tables_are_refused(tmp_path: Path) -> None:
    assert "no table" in str(refusal({"site": ["a"]}))
    assert refusal(tmp_path / "absent.csv").code == "no_table"
    (tmp_path / "broken.parquet").write_bytes(b"no parquet")
    assert refusal(tmp_path / "broken.parquet").code == "not_a_table"


def test_two_columns_of_one_name_are_refused(frame: pd.DataFrame) -> None:
    doubled = pd.concat([frame, frame[["p"]]], axis=1)
    assert "two columns are named 'p'" in str(refusal(doubled, CLASSES, NAMES))
