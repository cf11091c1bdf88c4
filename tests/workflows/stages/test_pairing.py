"""Two tables of predictions of the same images: differences, what each would catch, and a page."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from offsite.errors import InputError
from offsite.evaluation.predictions.example import example_predictions
from offsite.evaluation.predictions.table import load_predictions
from offsite.evaluation.settings import EvaluationSettings
from offsite.evaluation.tables.comparison import paired_differences
from offsite.evaluation.tables.reading import read_table
from offsite.workflows.stages.pairing import compare_tables
from tests.workflows.command import offsite

LIGHT = ["metrics.resamples=100"]


@pytest.fixture
def tables(tmp_path: Path) -> list[Path]:
    """The example, and a model that is worse at one hospital, under column names of its own."""
    ours = example_predictions()
    rng = np.random.default_rng(0)
    score = np.where(ours["site"] == "north", rng.random(len(ours)), ours["prob_malignant"])
    theirs = ours.assign(prob_malignant=score, prob_benign=1 - score).sample(frac=1, random_state=0)
    ours.to_parquet(tmp_path / "ours.parquet")
    theirs.to_csv(tmp_path / "theirs.csv", index=False, sep=";", decimal=",")
    return [tmp_path / "ours.parquet", tmp_path / "theirs.csv"]


def text_of(page: Path) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.read_text(encoding="utf-8")))


def test_the_page_says_where_a_model_is_worse_and_what_each_catches(tables: list[Path]) -> None:
    page = compare_tables(tables, None, None, LIGHT)
    assert page.parent.name == "theirs-against-ours"
    text = text_of(page)
    assert "worse at north" in text
    assert "undecided at south and west" in text or "undecided at west and south" in text
    assert "What theirs would catch of what ours misses" in text
    made = {file.stem for file in page.parent.glob("*.csv")}
    assert made == {"methods", "differences", "complementary"}
    models = [load_predictions(table) for table in tables]
    plain = paired_differences(*models, EvaluationSettings(resamples=100))
    written = read_table(page.parent / "differences.csv")
    for column in ("difference", "low", "high", "p_value"):
        np.testing.assert_allclose(
            written[column].astype(float), plain[column].astype(float), rtol=1e-9
        )
    again = page.read_bytes()
    assert compare_tables(tables, None, None, LIGHT).read_bytes() == again


def test_more_than_two_are_compared_with_the_first_or_with_the_named(tables: list[Path]) -> None:
    third = tables[0].with_name("third.csv")
    example_predictions().to_csv(third, index=False)
    page = compare_tables([*tables, third], tables[0].parent / "out", None, LIGHT, baseline="third")
    names = {file.name for file in page.parent.glob("*.csv")}
    assert {"complementary-ours.csv", "complementary-theirs.csv", "methods.csv"} <= names
    methods = read_table(page.parent / "methods.csv")
    assert methods["method"].drop_duplicates().tolist() == ["third", "ours", "theirs"]
    same = methods.query("method == 'ours' and site == 'north' and metric == 'auroc'").iloc[0]
    assert same["difference"] == 0
    assert same["p_value"] == 1


def test_what_cannot_be_compared_is_refused(tables: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none of the tables"):
        compare_tables(tables, None, None, LIGHT, baseline="other")
    (tmp_path / "b").mkdir()
    twin = tmp_path / "b" / "ours.csv"
    example_predictions().to_csv(twin, index=False)
    with pytest.raises(InputError, match="two models would be called 'ours'"):
        compare_tables([tables[0], twin], None, None, LIGHT)
    fewer = tmp_path / "fewer.csv"
    example_predictions().iloc[5:].to_csv(fewer, index=False)
    with pytest.raises(InputError, match="in both tables"):
        compare_tables([tables[0], fewer], None, None, LIGHT)
    mine = tmp_path / "fewer-against-ours" / "methods.csv"
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    with pytest.raises(InputError):
        compare_tables([tables[0], fewer], None, None, LIGHT)
    assert mine.read_text() == "mine"


def test_the_command_takes_tables_or_a_job(tables: list[Path], tmp_path: Path) -> None:
    done = offsite("compare", *tables, "-o", tmp_path / "out", "--set", *LIGHT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "out" / "comparison.html")
    alone = offsite("compare", tables[0])
    assert alone.returncode == 2
    assert "needs two" in alone.stderr
    assert pd.read_csv(tmp_path / "out" / "complementary.csv")["metric"].nunique() == 4
