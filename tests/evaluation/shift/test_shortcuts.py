"""Shortcuts: what a camera shows ranks the label within a site, and is told from what is everywhere."""

import numpy as np
import pandas as pd
import pytest

from offsite.evaluation.shift.shortcuts import COLUMNS, shortcut_table


def told(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    return table[table["kind"] == kind].set_index("site")


def cohort(seed: int, n: int = 120) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two sites; at the first the camera darkens positives, at the second it brightens them."""
    rng = np.random.default_rng(seed)
    sites = np.repeat(["east", "west"], n)
    positive = rng.random(2 * n) < 0.4
    patients = np.array([f"p{k // 2}" for k in range(2 * n)])
    numbers = rng.normal(size=(2 * n, 6))
    return numbers, positive, sites, patients


def test_a_habit_of_one_site_ranks_within_it_and_not_across() -> None:
    numbers, positive, sites, patients = cohort(0)
    numbers[:, 0] += np.where(sites == "east", 2.0, -2.0) * positive
    table = shortcut_table(numbers, positive, sites, patients)
    assert list(table.columns) == list(COLUMNS)
    assert (told(table, "within")["low"] > 0.75).all()
    assert (told(table, "across")["high"] < 0.5).all()  # backwards, as on filtered photographs


def test_what_every_site_shows_ranks_across_them() -> None:
    numbers, positive, sites, patients = cohort(1)
    numbers[:, 2] += 1.5 * positive
    table = shortcut_table(numbers, positive, sites, patients)
    assert (told(table, "across")["low"] > 0.6).all()


def test_another_camera_tells_the_sites_and_not_the_label() -> None:
    numbers, positive, sites, patients = cohort(2)
    numbers[:, 1] += 3.0 * (sites == "west")
    table = shortcut_table(numbers, positive, sites, patients)
    assert (told(table, "tells_sites")["auroc"] > 0.95).all()
    assert (told(table, "within")["low"] < 0.6).all()


@pytest.mark.slow
def test_without_a_shortcut_the_lower_bound_rarely_passes_the_caution() -> None:
    lows = []
    for seed in range(60):
        table = shortcut_table(*cohort(100 + seed))
        lows += told(table, "within")["low"].tolist() + told(table, "across")["low"].tolist()
    assert np.mean(np.array(lows) > 0.6) <= 0.01
    assert np.mean(np.array(lows) > 0.5) <= 0.05


def test_a_patients_rows_are_never_on_both_sides_of_a_fold() -> None:
    rng = np.random.default_rng(3)
    patients = np.repeat(np.arange(40), 5)
    positive = patients % 2 == 0
    own = rng.normal(size=(40, 8))  # each patient has a mark of its own, and nothing else
    numbers = own[patients] + 0.01 * rng.normal(size=(200, 8))
    table = shortcut_table(numbers, positive, np.repeat("one", 200), patients.astype(str))
    row = told(table, "within").loc["one"]
    assert row["auroc"] < 0.6  # with a patient on both sides it would be 1
    assert row["n_patients"] == 40


def test_what_cannot_be_said_has_its_reason() -> None:
    numbers, positive, sites, patients = cohort(4)
    positive[sites == "west"] = False
    table = shortcut_table(numbers, positive, sites, patients)
    assert told(table, "within")["reason"].to_dict() == {"east": "ok", "west": "single_class"}
    assert told(table, "across")["reason"].to_dict() == {
        "east": "single_class", "west": "single_class",
    }  # fmt: skip
    alone = shortcut_table(numbers[:120], positive[:120], sites[:120], patients[:120])
    assert told(alone, "tells_sites").loc["east", "reason"] == "single_class"
    few = np.flatnonzero(sites == "east")[:30]
    small = shortcut_table(numbers[few], positive[few], sites[few], patients[few])
    assert told(small, "within").loc["east", "reason"] == "too_few_patients"
