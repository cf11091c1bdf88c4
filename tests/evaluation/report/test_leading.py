"""What a page says first: one answer for everyone, and the threshold that ships."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from offsite.evaluation.evaluating import Evaluation, evaluate
from offsite.evaluation.operating_points.choosing import PACKAGED
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.report.page import build_page
from offsite.evaluation.report.settings import ReportSettings
from offsite.evaluation.tables.reading import read_evaluation
from offsite.evaluation.wording import number

SETTINGS = ReportSettings.model_validate(
    {
        "parts": ["operating_points", "net_benefit", "calibration", "selective"],
        "metrics": {
            "tasks": {"ill": {"positive_classes": ["severe"]}},
            "resamples": 100,
            "calibration_simulations": 50,
        },
    }
)
CLASSES = ("none", "mild", "severe")


def predictions(
    away: np.ndarray | None = None, home: np.ndarray | None = None, seed: int = 0
) -> Predictions:
    """Two training sites and one held out, whose probabilities may be one row for everyone."""
    rng = np.random.default_rng(seed)
    rows, probabilities = [], []
    for site in ("a", "b", "away"):
        for split in ("train", "val", "test"):
            if site == "away" and split != "test":
                continue
            truth = rng.integers(0, 3, 80)
            logits = rng.normal(size=(80, 3)) + 2.0 * np.eye(3)[truth]
            shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            same = away if site == "away" else home
            probabilities.append(shares if same is None else np.tile(same, (80, 1)))
            names = [f"{site}-{split}-{index}" for index in range(80)]
            rows.append(
                pd.DataFrame(
                    {
                        "image": names,
                        "patient": names,
                        "site": site,
                        "split": split,
                        "label": np.array(CLASSES)[truth],
                    }
                )
            )
    table = pd.concat(rows, ignore_index=True)
    return Predictions(
        table=table,
        classes=CLASSES,
        probabilities=np.concatenate(probabilities),
        labels=table["label"].map(CLASSES.index).to_numpy(np.int64),
    )


def summary_of(made: Evaluation) -> str:
    page = made.report.read_text(encoding="utf-8")
    part = page.split('id="summary"', 1)[1].split("</section>", 1)[0]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", part.split(">", 1)[1])).strip()


@pytest.mark.parametrize(
    "answer", [(0.98, 0.01, 0.01), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.2, 0.6, 0.2)]
)
def test_a_constant_model_has_a_page_that_says_so_first(
    tmp_path: Path, answer: tuple[float, float, float]
) -> None:
    same = np.array(answer)
    made = evaluate(predictions(same, same), tmp_path / "e", SETTINGS)
    told = summary_of(made).removeprefix("Summary ")
    called = CLASSES[int(same.argmax())]
    assert told.startswith(
        "The model answers the same for everyone: by the most probable class it calls every one "
        f"of the 240 labelled test images “{called}”."
    )


def test_a_site_where_everyone_is_called_ill_stands_before_every_average(tmp_path: Path) -> None:
    made = evaluate(predictions(away=np.array([0.01, 0.01, 0.98])), tmp_path / "e", SETTINGS)
    told = summary_of(made).removeprefix("Summary ")
    assert told.startswith("At away the model answers the same for everyone")
    first, rest = told.split(" At the weakest by ", 1)
    assert "At the weakest site, away (held-out site), the threshold that ships" in first
    assert "specificity 0.00 (95 % interval 0.00–" in first.replace("\u202f", " ")
    assert "for ill: it calls everyone positive." in first
    assert "More of those without ill are referred than where the threshold was chosen" in rest
    assert "probabilities of ill are off at away (too high: intercept" in rest


def test_a_model_that_holds_up_accuses_nobody(tmp_path: Path) -> None:
    told = summary_of(evaluate(predictions(seed=3), tmp_path / "e", SETTINGS))
    assert "answers the same for everyone" not in told
    assert "it calls everyone" not in told
    assert "Over-referral" not in told


def test_the_first_threshold_on_the_page_is_the_one_that_ships(tmp_path: Path) -> None:
    made = evaluate(predictions(), tmp_path / "e", SETTINGS)
    page = made.report.read_text(encoding="utf-8")
    section = page.split('id="operating"', 1)[1].split("</section>", 1)[0]
    table = pd.read_csv(made.folder / "operating_points.csv")
    told = summary_of(made)
    weakest = re.search(r"At the weakest site, (\w+) ", told)
    assert weakest is not None
    rows = table[(table["metric"] == "sensitivity") & (table["site"] == weakest.group(1))]
    shown = rows.set_index("rule")
    assert shown["threshold"].nunique() == 3
    caption = re.search(r"<caption>([^<]+)<", section)
    assert caption is not None
    assert f"threshold {shown.loc[PACKAGED, 'threshold']:.3f}" in caption.group(1)
    assert f"sensitivity {shown.loc[PACKAGED, 'value']:.2f}" in told
    # The first table has it as well, and its worst site.
    table = build_page(read_evaluation(made.folder)).sections[1].tables[0]
    columns = [column.heading for column in table.columns]
    place = columns.index("Sensitivity: ill")
    assert table.columns[place].note == "at the shipped threshold"
    shown = {row[0].text: row[place].text for group in table.groups for row in group.rows}
    points = pd.read_csv(made.folder / "operating_points.csv").query("rule == 'point'")
    sensitivity = points[points["metric"] == "sensitivity"]
    single = sensitivity[~sensitivity["site"].str.startswith("_")].set_index("site")["value"]
    assert {site: shown[site] for site in single.index} == {
        site: number(value) for site, value in single.items()
    }
    assert shown["Worst site"] == number(single.min())
    assert shown["Best minus worst site"] == number(single.max() - single.min())


def test_sites_of_too_few_patients_are_told_as_such_and_accused_of_nothing(tmp_path: Path) -> None:
    rows = predictions(away=np.array([0.01, 0.01, 0.98]))
    number = rows.table["patient"].str.rsplit("-", n=1).str[-1].astype(int)
    few = rows.select(((rows.table["split"] != "test") | (number < 20)).to_numpy())
    made = evaluate(few, tmp_path / "e", SETTINGS)
    told = summary_of(made).replace("\u202f", " ")
    assert "for ill, on too few patients to judge." in told
    for accusation in ("it calls everyone", "At away the model", "Over-referral", "Calibration"):
        assert accusation not in told
    assert pd.read_csv(made.folder / "alarms.csv").empty
