"""Every number is one click from how it was made, and what cannot be compared is left out once."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from offsite.evaluation.evaluating import Evaluation, evaluate
from offsite.evaluation.metrics.entries import METRICS
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.report.settings import ReportSettings
from offsite.evaluation.tables.schemas import SCHEMAS


def test_every_table_and_metric_is_linked_to_how_it_was_made(page: str) -> None:
    ids = set(re.findall(r' id="([^"]+)"', page))
    linked = re.findall(r'href="#((?:how|table)-[^"]+)"', page)
    assert len(linked) > 40
    assert set(linked) <= ids
    for anchor in ids:
        if anchor.startswith("table-"):
            assert anchor.removeprefix("table-") in SCHEMAS
        elif anchor.startswith("how-") and anchor != "how-title":
            name = anchor.removeprefix("how-")
            row = page.split(f'id="{anchor}"', 1)[1].split("</tr>", 1)[0]
            assert METRICS[name].formula[:20].split("<")[0].split("'")[0] in row
    # Every table but those of the page on itself says where it comes from.
    captions = re.findall(r"<caption>(.*?)</caption>", page)
    without = [caption for caption in captions if "#table-" not in caption]
    assert {re.sub(r"<.*", "", caption) for caption in without} == {
        "What became of every case",
        "Inputs, versions, seeds and settings",
        "Metrics of this page",
        "Tables that this page was made from",
    }
    for figure in re.findall(r"<figcaption>(.*?)</figcaption>", page):
        assert 'href="#how"' in figure


def test_the_page_says_unit_draws_seed_and_confidence(page: str) -> None:
    how = page.split('<section id="how"', 1)[1]
    assert (
        "Patients, with all of their images, are drawn within each site, 100 times (seed 0)" in how
    )
    assert "Intervals are of 95\u202f%" in how


def test_every_question_that_was_asked_stands_on_the_page(
    page: str, evaluation: Evaluation
) -> None:
    import pandas as pd

    alarms = pd.read_csv(evaluation.folder / "alarms.csv")
    assert f"All that was asked of the sites ({len(alarms)} questions)" in page
    assert set(alarms["site"]).isdisjoint({"Twelve"})


def test_a_table_of_test_rows_alone_says_once_that_there_is_nothing_to_compare_with(
    hard_predictions: Predictions, report_settings: ReportSettings, tmp_path: Path
) -> None:
    held_out = (hard_predictions.table["site_role"] == "held_out").to_numpy()
    alone = hard_predictions.select(np.flatnonzero(held_out))
    alone = replace(alone, table=alone.table.drop(columns="site_role"))
    made = evaluate(alone, tmp_path / "e", report_settings)
    page = made.report.read_text(encoding="utf-8")
    assert page.count("no rows of training sites") == 1
    for anchor in ("shift", "foreign", "sets"):
        assert f'<section id="{anchor}"' not in page
        assert f'href="#{anchor}"' not in page
    figures = {file.stem for file in (made.folder / "figures").glob("*.svg")}
    assert {"shift", "flag-rate"}.isdisjoint(figures)
    assert "forest" in figures
