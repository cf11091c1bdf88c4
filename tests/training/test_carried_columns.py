"""Columns of the cohort in a run's predictions: those asked for, as they are today, without training."""

import pandas as pd
import pytest
from test_train_run import PointRun

from offsite.files import read_json, write_json
from offsite.training.carried_columns import carry_columns
from offsite.training.run_folder import RunFolder
from offsite.training.train_run import train_run


def cohort_of(items):
    """The run's cohort with two further columns; one patient is of no recorded sex."""
    sex = ["", *("FM"[number % 2] for number in range(1, len(items.cohort)))]
    return items.cohort.assign(sex=sex, year=2019.0, name="Smith").sample(frac=1, random_state=0)


def carried(folder, cohort, columns):
    carry_columns(folder, cohort, columns)
    assert RunFolder(folder).damaged() is None
    return pd.read_parquet(folder / "predictions.parquet")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("carried") / "run"
    return folder, train_run(PointRun(), folder), cohort_of(PointRun())


def test_the_columns_asked_for_and_no_other_are_kept(done):
    folder, before, cohort = done
    for columns in (["sex", "year"], ["year"], ["sex", "site_role"], []):
        table = carried(folder, cohort, columns)
        kept = [name for name in columns if name != "site_role"]  # predictions have it themselves
        assert list(table.columns) == [*before.columns, *kept]
        pd.testing.assert_frame_equal(table[before.columns], before)
        of_image = cohort.set_index("image").loc[table["image"]]
        for name in kept:
            assert table[name].tolist() == of_image[name].astype(str).tolist()
        assert read_json(folder / "run.json")["carried"] == kept


def test_a_cell_that_was_corrected_is_taken_over_and_a_true_one_left(done):
    folder, _, cohort = done
    carried(folder, cohort, ["sex"])
    written = (folder / "predictions.parquet").stat().st_mtime_ns
    carried(folder, cohort, ["sex"])
    assert (folder / "predictions.parquet").stat().st_mtime_ns == written
    known = cohort.assign(sex=cohort["sex"].replace({"": "F"}))
    assert set(carried(folder, known, ["sex"])["sex"]) == {"F", "M"}


def test_the_run_is_done_and_killed_between_the_files_it_predicts_anew(done):
    folder, before, cohort = done
    carried(folder, cohort, ["sex"])
    weights = (folder / "weights.safetensors").stat().st_mtime_ns
    again = PointRun()
    assert "sex" in train_run(again, folder)
    assert again.fits == 0
    record = read_json(folder / "run.json")
    carry_columns(folder, cohort, ["sex", "year"])
    write_json(folder / "run.json", record)  # as it was before the kill
    assert RunFolder(folder).damaged() == "predictions.parquet"
    pd.testing.assert_frame_equal(train_run(again, folder), before)
    assert (folder / "weights.safetensors").stat().st_mtime_ns == weights
    assert "sex" in carried(folder, cohort, ["sex"])


def test_a_column_that_is_not_there_is_no_group(done):
    with pytest.raises(KeyError):
        carry_columns(done[0], done[2], ["age"])
