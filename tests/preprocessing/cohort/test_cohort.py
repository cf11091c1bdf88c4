"""Cohort tables: what is accepted, and that every fault names its row and remedy."""

from pathlib import Path

import pandas as pd
import pytest

from offsite.errors import InputError, InputErrors
from offsite.preprocessing.cohort.table import load_cohort

ROWS = [
    {"image": "a1.svs", "patient": "p1", "site": "north", "label": "low"},
    {"image": "a2.svs", "patient": "p1", "site": "north", "label": "high"},
    {"image": "b1.svs", "patient": "p2", "site": "south", "label": ""},
]


def write(folder: Path, rows: list[dict[str, str]], name: str = "cohort.csv") -> Path:
    for row in rows:
        image = row.get("image", "")
        if image and "missing" not in image and "\n" not in image:
            (folder / image).parent.mkdir(parents=True, exist_ok=True)
            (folder / image).touch()
    path = folder / name
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def faults_of(path: Path, **options: object) -> list[InputError]:
    with pytest.raises(InputErrors) as caught:
        load_cohort(path, **options)
    return caught.value.faults


def changed(row: int, **cells: str) -> list[dict[str, str]]:
    rows = [dict(line) for line in ROWS]
    rows[row].update(cells)
    return rows


def test_a_good_table_is_read_as_it_is(tmp_path: Path) -> None:
    cohort = load_cohort(write(tmp_path, ROWS), ["low", "high"])
    assert cohort.sites == ("north", "south")
    assert cohort.label_indices.tolist() == [0, 1, -1]
    assert cohort.table["slide"].tolist() == ["a1", "a2", "b1"]
    assert cohort.image_paths()[2] == tmp_path / "b1.svs"


def test_identifiers_stay_text(tmp_path: Path) -> None:
    rows = changed(0, patient="007")
    rows[1]["patient"] = "1e5"
    cohort = load_cohort(write(tmp_path, rows), ["low", "high"])
    assert cohort.table["patient"].tolist() == ["007", "1e5", "p2"]


def test_parquet_and_csv_give_the_same_cohort(tmp_path: Path) -> None:
    path = write(tmp_path, ROWS)
    pd.read_csv(path, keep_default_na=False).to_parquet(tmp_path / "cohort.parquet")
    first, second = load_cohort(path), load_cohort(tmp_path / "cohort.parquet")
    pd.testing.assert_frame_equal(first.table, second.table)
    assert first.classes == second.classes == ("high", "low")


@pytest.mark.parametrize(
    ("rows", "row", "column", "words"),
    [
        (changed(0, patient=""), 2, "patient", "blank"),
        (changed(1, label="hihg"), 3, "label", "'hihg' is not a class"),
        (changed(1, image="a1.svs"), 3, "image", "named twice"),
        (changed(2, image="x/a1.svs"), 4, "slide", "names two images"),
        (changed(2, image="missing.svs"), 4, "image", "no such file"),
        (changed(2, site="_pooled"), 4, "site", "cannot be used"),
        (changed(0, mpp="0.25um"), 2, "mpp", "not a number"),
        (changed(0, mpp="0.00499"), 2, "mpp", "not plausible"),
        (changed(0, split="training"), 2, "split", "not a split"),
        (changed(2, patient="p1"), 2, "patient", "two sites"),
        (changed(0, slide="\u80be" * 90), 2, "slide", "cannot be used"),  # files take 255 bytes
        (changed(2, site="North"), 4, "site", "another spelling of 'north'"),
        (changed(2, site=" nor\u200bth"), 4, "site", "another spelling of 'north'"),
        (changed(1, image="./a1.svs", slide="a2"), 3, "image", "named twice"),
    ],
)
def test_a_fault_names_row_column_and_remedy(
    tmp_path: Path, rows: list[dict[str, str]], row: int, column: str, words: str
) -> None:
    path = write(tmp_path, rows)
    fault = faults_of(path, classes=["low", "high"])[0]
    assert (fault.row, fault.column, fault.file) == (row, column, str(path))
    assert words in str(fault)
    assert fault.remedy


def test_a_patient_typed_on_two_machines_is_one_patient(tmp_path: Path) -> None:
    rows = changed(0, patient="Mu\u0308ller 1")
    rows[1]["patient"] = "M\u00fcller\u00a0 1"
    assert load_cohort(write(tmp_path, rows)).table["patient"].nunique() == 2


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("image,patient,site,label\na1.svs,p1,north,low,", "too_many_cells"),
        ("image,patient,site,label\na1.svs,Doe, Jane,north,low", "too_many_cells"),
        ("image;patient;site;label\na1.svs;p1;north,south;low;high", "too_many_cells"),
        ('image,patient,site,label\na1.svs,p1,north,"low', "not_a_table"),
        ("image,patient,site,label,Label \na1.svs,p1,north,low,high", "column_twice"),
        ("image,patient,site,label,label\na1.svs,p1,north,low,high", "column_twice"),
    ],
)
def test_a_csv_that_would_be_misread_is_refused(tmp_path: Path, text: str, code: str) -> None:
    (tmp_path / "cohort.csv").write_text(f"{text}\n")
    with pytest.raises(InputError) as caught:
        load_cohort(tmp_path / "cohort.csv", check_images=False)
    assert caught.value.code == code


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    rows = changed(0, patient="")
    rows[1]["label"] = "?"
    rows[2]["image"] = "missing.svs"
    assert [fault.row for fault in faults_of(write(tmp_path, rows), classes=["low", "high"])] == [
        2, 3, 4,
    ]  # fmt: skip


def test_a_straddling_patient_is_refused(tmp_path: Path) -> None:
    rows = changed(0, split="train")
    rows[1]["split"] = "test"
    assert "two splits" in str(faults_of(write(tmp_path, rows))[0])


def test_a_missing_column_lists_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "cohort.csv"
    path.write_text("image,case,site,label\na.svs,1,n,x\n")
    with pytest.raises(InputError, match=r"missing column patient \(found: image, case"):
        load_cohort(path)


def test_labels_may_be_absent_for_prediction_but_not_for_training(tmp_path: Path) -> None:
    rows = [{key: row[key] for key in ("image", "patient", "site")} for row in ROWS]
    path = write(tmp_path, rows)
    assert (load_cohort(path).table["label"] == "").all()
    with pytest.raises(InputError, match="missing column label"):
        load_cohort(path, labels_required=True)
