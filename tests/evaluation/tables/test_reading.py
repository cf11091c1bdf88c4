"""Tables of an evaluation are harmless in a spreadsheet, and read back as they were."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from offsite.evaluation.evaluating import evaluate
from offsite.evaluation.gate.judging import judge
from offsite.evaluation.gate.rules import GateSettings
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.report.settings import ReportSettings
from offsite.evaluation.tables.reading import read_evaluation, read_table, write_table
from offsite.tables.cells import as_it_was, harmless

SITES = ("=cmd|' /C calc'!A0", "-north", "@home", "'=quoted", "a;=1+1", "+49")
CLASSES = ("none", "=ill")
FORMULA = ("=", "+", "-", "@", "\t", "\r")
SETTINGS = ReportSettings.model_validate(
    {
        "metrics": {
            "tasks": {"@task": {"positive_classes": ["=ill"]}},
            "resamples": 100,
            "calibration_simulations": 50,
        },
        "ood": {"detectors": ["msp"], "resamples": 50},
        "shift": {"permutations": 19, "resamples": 50, "null_splits": 19},
        "selective": {"resamples": 50},
    }
)


def predictions() -> Predictions:
    rng = np.random.default_rng(0)
    rows, probabilities = [], []
    for site in SITES:
        for split in ("train", "val", "test"):
            truth = rng.integers(0, 2, 40)
            ill = 1 / (1 + np.exp(-(4 * truth - 2 + rng.normal(size=40))))
            probabilities.append(np.column_stack([1 - ill, ill]))
            names = [f"={split}-{index}" for index in range(40)]
            rows.append(
                pd.DataFrame(
                    {
                        "image": [f"{site}{name}" for name in names],
                        "patient": names,
                        "site": site,
                        "split": "test" if site == "+49" else split,
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


def a_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def test_no_cell_of_any_table_is_a_formula_and_every_site_reads_back(tmp_path: Path) -> None:
    made = evaluate(predictions(), tmp_path / "e", SETTINGS)
    evaluated = read_evaluation(made.folder)
    assert len(evaluated.tables) > 10
    for name, table in evaluated.tables.items():
        with (made.folder / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert [cell for cell in cells if cell.startswith(FORMULA) and not a_number(cell)] == []
        if "site" not in table:
            continue
        single = {site for site in table["site"] if not site.startswith("_")}
        assert single <= set(SITES), name
        if name in ("per_site", "cohort", "calibration", "shift", "selective", "conformal"):
            assert single == set(SITES), name


def test_the_gate_judges_the_sites_of_their_own_names(tmp_path: Path) -> None:
    made = evaluate(predictions(), tmp_path / "e", SETTINGS)
    rules = GateSettings.model_validate(
        {
            "rules": [{"rule": "minimum_n", "patients": 1000}],
            "left_out": {"-north": "a reason that is long enough"},
        }
    )
    verdict = judge(made.folder, rules, champion=None, differences=None)
    assert set(verdict.rules[0].sites) == set(SITES) - {"-north"}


@pytest.mark.parametrize("text", [*SITES, "", "'", "''=", "\t=1", "a\n+b", "x|'@y", "＝1", "plain"])
def test_what_was_made_harmless_reads_back(text: str, tmp_path: Path) -> None:
    assert as_it_was(harmless(text)) == text
    assert not harmless(text).startswith(FORMULA[:4])
    table = pd.DataFrame({"site": ["a", text], "value": [-0.5, 0.25]})
    write_table(tmp_path / "t.csv", table)
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.csv"), table)
