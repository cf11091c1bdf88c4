"""Finished cells stay as lines, and tables are made of these lines alone."""

import json

import numpy as np
import pandas as pd
import pytest
import trained_trunk_records as kept
from retina_protocols import run_protocol
from trained_trunk_page import (
    differences,
    left_out_table,
    settled_table,
    single_source_differences,
    single_source_table,
)

from offsite.preprocessing.cohort.splits import SplitSettings
from offsite.retina.settings import RetinaSettings
from offsite.training.cells import Cell

FIGURES = {"sensitivity": 0.9, "specificity": 0.4, "severe": 8000,
           "gdrbench": {"auc": 0.7, "accuracy": 0.5, "macro_f1": 0.4}}  # fmt: skip


def site(auroc, kappa=(5000, 4000, 6000)):
    both = {"auroc": list(auroc), "kappa": list(kappa)}
    return {**both, **FIGURES, "after": {str(cases): both for cases in kept.CASES}}


def lines(method, higher=0, seeds=(30, 31)):
    return [
        {"method": method, "seed": seed, "left_out": [name],
         "sites": {name: site(np.array([8000, 7900, 8100]) + higher)}}
        for seed in seeds for name in kept.SHORT.values()
    ]  # fmt: skip


def test_a_finished_cell_is_known_by_its_line_and_not_by_one_of_another_recipe(tmp_path):
    records, cell = kept.Records(tmp_path, ["a"]), Cell("erm", ("dr_idrid",), 30)
    assert not records.has("test", cell, 1e-3)
    records.add("test", cell, 1e-3, {"auc": 0.5})
    records.add("test", Cell("erm", ("dr_idrid",), 31), 1e-3, {"auc": 0.6})
    again = kept.Records(tmp_path, ["a"])
    assert again.has("test", cell, 1e-3)
    assert [line["auc"] for line in again.found("test")] == [0.5, 0.6]
    assert not again.has("settle", cell, 1e-3)
    assert not again.has("test", cell, 3e-3)
    assert not again.has("test", Cell("deco", ("dr_idrid",), 30), 1e-3)
    assert not kept.Records(tmp_path, ["b"]).has("test", cell, 1e-3)


def test_what_a_run_says_of_the_site_left_out_is_kept_and_nothing_that_names_a_photograph(
    prepared, tmp_path, monkeypatch
):
    monkeypatch.setattr(kept, "CASES", (4,))
    settings = RetinaSettings.model_validate(
        {"backbone": {"width": 4}, "fit": {"epochs": 1, "device": "cpu", "select_by": "loss"}}
    )
    there = prepared.cohort.sites[0]
    cell = Cell("erm", (there,), 0)
    figures = run_protocol(
        prepared.cohort, prepared.folder, settings, [cell], tmp_path,
        splits=SplitSettings(val=0.4, test=0.2),
    )  # fmt: skip
    (found,) = kept.left_out_figures(tmp_path / cell.name, cell, prepared.cohort.classes)[
        "sites"
    ].values()
    row = figures[figures["site"] == there].iloc[0]
    assert found["auroc"][0] == pytest.approx(row["referable_auc"] * kept.UNIT, abs=1)
    assert found["kappa"][0] == pytest.approx(row["kappa"] * kept.UNIT, abs=1)
    assert found["severe"] == pytest.approx(row["vision_threatening_auc"] * kept.UNIT, abs=1)
    assert len(found["auroc"]) == 1 + kept.DRAWS
    text = json.dumps(found)
    table = pd.read_parquet(tmp_path / cell.name / "predictions.parquet")
    assert not any(name in text for name in table["patient"].astype(str))


def test_a_difference_is_paired_by_draw_and_seed():
    table = differences([*lines("erm"), *lines("deco", 100)], ("erm", "deco"))
    assert "| `erm` | +0.010 (+0.010 to +0.010) | +0.000 (+0.000 to +0.000) |" in table
    assert table.strip().endswith("| 6 |")
    assert differences(lines("erm"), ("erm", "deco")).startswith("No cell")


def test_the_mean_of_the_sites_takes_only_seeds_that_have_all_three():
    cells = lines("erm")
    cells[-1]["sites"]["Messidor-2"]["auroc"] = [2000, 2000, 2000]
    of_three = left_out_table(cells[:-1], ("erm",)).splitlines()[2].split("|")[5]
    assert (
        of_three.strip() == "0.800 (0.780 to 0.820) / 0.500 (0.304 to 0.696)"
    )  # 1.96 draws' spread
    of_two = left_out_table(cells[:2], ("erm",)).splitlines()[2].split("|")
    assert [part.strip() for part in of_two[4:6]] == ["–", "–"]


def test_one_source_is_compared_on_seeds_that_both_have_whole_and_target_by_target():
    names = list(kept.SHORT.values())
    cells = [
        {"method": method, "seed": seed, "left_out": [t for t in names if t != source],
         "sites": {t: site([7000 + more, 6900 + more, 7100 + more]) for t in names if t != source}}
        for method, more in (("erm", 0), ("deco", 300)) for seed in (30, 31) for source in names
    ]  # fmt: skip
    whole = single_source_differences(cells, ("erm", "deco"), "deco")
    assert "| `erm` | +0.030 (+0.030 to +0.030) | +0.000 (+0.000 to +0.000) | 30, 31 |" in whole
    cells[-1]["sites"][names[0]] = site([2000] * 3)
    assert "| 30 |" in single_source_differences(cells[:-1], ("erm", "deco"), "deco")
    assert single_source_differences(cells[:5], ("erm", "deco"), "deco").startswith("No seed")


def test_tables_of_one_source_and_of_rates():
    cell = {"method": "erm", "seed": 30, "left_out": ["APTOS", "IDRiD"],
            "sites": {"APTOS": site([7000] * 3), "IDRiD": site([6000] * 3)}}  # fmt: skip
    table = single_source_table([cell], ("erm",))
    assert "Messidor-2 → APTOS | Messidor-2 → IDRiD" in table
    assert "0.600 (0.600 to 0.600)" in table
    tried = {
        "method": "erm",
        "rate": 1e-3,
        "auc": 0.7,
        "referable_auc": 0.8,
        "kappa": 0.5,
        "loss": 1,
    }
    assert "| erm | 0.001 | 0.7 | 0.8 | 0.5 | 1.0 |" in settled_table([tried])
