"""The predictions table is read whole or refused with file, row and remedy."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from offsite.errors import InputError
from offsite.evaluation.predictions.checks import check_rows
from offsite.evaluation.predictions.table import load_predictions
from offsite.evaluation.statistics.sites import Sites
from offsite.evaluation.tables.cohort import cohort_table


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image": ["a.png", "b.png", "c.png"],
            "patient": ["001", "001", "002"],
            "site": ["s", "s", "t"],
            "split": ["test"] * 3,
            "label": ["no", "", "yes"],
            "prob_no": [0.9, 0.5, 0.25],
            "prob_yes": [0.1, 0.5, 0.75],
        }
    )


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_reads_csv_and_parquet_alike(tmp_path: Path, table: pd.DataFrame, suffix: str) -> None:
    file = tmp_path / f"p.{suffix}"
    table.to_csv(file, index=False) if suffix == "csv" else table.to_parquet(file)
    found = load_predictions(file)
    assert found.classes == ("no", "yes")
    assert found.labels.tolist() == [0, -1, 1]
    assert found.table["patient"].tolist() == ["001", "001", "002"]
    assert set(found.table["site_role"]) == {"unknown"}
    np.testing.assert_allclose(found.probabilities[2], [0.25, 0.75])


def test_a_run_folder_stands_for_its_table_and_the_arrays_beside_it(
    tmp_path: Path, table: pd.DataFrame
) -> None:
    table.to_parquet(tmp_path / "predictions.parquet")
    np.save(tmp_path / "logits.npy", np.zeros((3, 2), dtype=np.float32))
    found = load_predictions(tmp_path)
    assert found.logits is not None
    assert found.logits.dtype == np.float64
    assert found.embeddings is None
    np.save(tmp_path / "embeddings.npy", np.zeros((4, 2)))
    with pytest.raises(InputError, match="4 rows"):
        load_predictions(tmp_path)


def test_names_that_look_like_numbers_stay_names(tmp_path: Path, table: pd.DataFrame) -> None:
    table["image"] = ["007", "7", "7.0"]
    table.to_csv(tmp_path / "p.csv", index=False)
    assert load_predictions(tmp_path / "p.csv").table["image"].tolist() == ["007", "7", "7.0"]


def test_a_blank_probability_of_a_csv_is_refused_with_its_row(
    tmp_path: Path, table: pd.DataFrame
) -> None:
    table.loc[1, "prob_no"] = np.nan
    table.to_csv(tmp_path / "p.csv", index=False)
    with pytest.raises(InputError) as error:
        load_predictions(tmp_path / "p.csv")
    assert error.value.row == 3


def test_images_without_a_patient_are_each_their_own_in_the_cohort_table(
    tmp_path: Path, table: pd.DataFrame
) -> None:
    table["patient"] = ["", "", "002"]
    table.to_csv(tmp_path / "p.csv", index=False)
    found = cohort_table(Sites.of(load_predictions(tmp_path / "p.csv"))).set_index("site")
    assert found["n_patients"].to_dict() == {"s": 2, "t": 1}


@pytest.mark.parametrize(
    ("column", "values", "code"),
    [
        ("split", ["test", "test", "dev"], "unknown_split"),
        ("split", ["val", "test", "test"], "patient_in_two_splits"),
        ("image", ["a.png", "a.png", "a.png"], "duplicate_image"),
        ("site", ["_s", "_s", "t"], "site_name"),
    ],
)
def test_what_would_be_measured_wrongly_is_refused(
    tmp_path: Path, table: pd.DataFrame, column: str, values: list[str], code: str
) -> None:
    table.to_csv(tmp_path / "p.csv", index=False)
    check_rows(load_predictions(tmp_path / "p.csv"))
    table[column] = values
    table.to_csv(tmp_path / "p.csv", index=False)
    with pytest.raises(InputError) as error:
        check_rows(load_predictions(tmp_path / "p.csv"))
    assert error.value.code == code


def test_nearly_one_is_renormalised(tmp_path: Path, table: pd.DataFrame) -> None:
    table.loc[0, "prob_no"] = 0.9004
    table.to_csv(tmp_path / "p.csv", index=False)
    found = load_predictions(tmp_path / "p.csv")
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-15)


@pytest.mark.parametrize(
    ("column", "value", "row"),
    [("prob_no", 1.5, 3), ("prob_no", np.nan, 3), ("prob_no", 0.7, 3), ("label", "maybe", 3)],
)
def test_a_bad_cell_is_named(
    tmp_path: Path, table: pd.DataFrame, column: str, value: object, row: int
) -> None:
    table.loc[1, column] = value
    file = tmp_path / "p.parquet"
    table.to_parquet(file)
    with pytest.raises(InputError) as error:
        load_predictions(file)
    assert (error.value.row, error.value.file) == (row, str(file))


@pytest.mark.parametrize("dropped", ["site", "prob_no"])
def test_missing_columns_and_missing_files_are_refused(
    tmp_path: Path, table: pd.DataFrame, dropped: str
) -> None:
    table.drop(columns=dropped).to_csv(tmp_path / "p.csv", index=False)
    with pytest.raises(InputError):
        load_predictions(tmp_path / "p.csv")
    with pytest.raises(InputError, match="no such"):
        load_predictions(tmp_path / "absent.csv")


def test_selecting_takes_every_part_along(tmp_path: Path, table: pd.DataFrame) -> None:
    table.to_parquet(tmp_path / "predictions.parquet")
    np.save(tmp_path / "logits.npy", np.arange(6.0).reshape(3, 2))
    found = load_predictions(tmp_path)
    for rows in (np.array([False, False, True]), np.array([2])):
        one = found.select(rows)
        assert (len(one), one.labels.tolist()) == (1, [1])
        assert one.table["image"].tolist() == ["c.png"]
        assert one.logits is not None
        assert one.logits.tolist() == [[4.0, 5.0]]


@pytest.mark.parametrize("second", ["0.0", "0.5"])
def test_a_class_that_is_there_twice_is_refused(
    tmp_path: Path, table: pd.DataFrame, second: str
) -> None:
    file = tmp_path / "p.csv"
    table.to_csv(file, index=False)
    header, *rows = file.read_text().splitlines()
    file.write_text("\n".join([f"{header},prob_no", *(f"{row},{second}" for row in rows)]))
    with pytest.raises(InputError) as error:
        load_predictions(file)
    assert error.value.code == "column_twice"


def test_a_name_that_no_system_takes_is_no_table(tmp_path: Path) -> None:
    for name in ("a" * 300 + ".csv", "a\0b.csv"):
        with pytest.raises(InputError) as error:
            load_predictions(tmp_path / name)
        assert error.value.code == "no_table"
