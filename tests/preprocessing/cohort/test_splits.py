"""Splits: no patient straddles, no held-out site trains, rare classes are spread."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offsite.errors import InputError
from offsite.preprocessing.cohort.splits import SplitSettings, split_cohort
from offsite.preprocessing.cohort.table import Cohort

CLASSES = ("a", "b", "c")


def cohort_of(patients: int, slides: int, sites: int, seed: int) -> Cohort:
    generator = np.random.default_rng(seed)
    rows = [
        {"image": f"p{p}-{s}.svs", "slide": f"p{p}-{s}", "patient": f"p{p}",
         "site": f"site{p % sites}", "label": label, "mpp": np.nan}
        for p in range(patients)
        for label in [CLASSES[p % 7 % 3] if p > 3 * sites else CLASSES[p // sites % 3]]
        for s in range(generator.integers(1, slides + 1))
    ]  # fmt: skip
    return Cohort(table=pd.DataFrame(rows), classes=CLASSES, path=Path("cohort.csv"))


@settings(max_examples=30, deadline=None)
@given(
    patients=st.integers(60, 150), slides=st.integers(1, 4), sites=st.integers(2, 5),
    seed=st.integers(0, 9),
)  # fmt: skip
def test_patients_never_straddle_and_held_out_sites_are_test(
    patients: int, slides: int, sites: int, seed: int
) -> None:
    cohort = cohort_of(patients, slides, sites, seed)
    result = split_cohort(cohort, SplitSettings(held_out_sites=("site0",), seed=seed)).table
    assert (result.groupby("patient")["split"].nunique() == 1).all()
    assert set(result.loc[result["site"] == "site0", "split"]) == {"test"}
    assert set(result.loc[result["site"] == "site0", "site_role"]) == {"held_out"}
    assert set(result.loc[result["site_role"] == "training", "split"]) == {"train", "val", "test"}


def test_shares_hold_within_each_class() -> None:
    cohort = cohort_of(400, 1, 4, 0)
    table = split_cohort(cohort, SplitSettings(val=0.2, test=0.3)).table
    shares = pd.crosstab(table["label"], table["split"], normalize="index")
    assert np.allclose(shares[["train", "val", "test"]], [0.5, 0.2, 0.3], atol=0.02)


def test_the_seed_decides_and_row_order_does_not() -> None:
    cohort = cohort_of(80, 2, 3, 0)
    first = split_cohort(cohort, SplitSettings(seed=1)).table.set_index("image")["split"]
    shuffled = cohort.with_table(cohort.table.sample(frac=1, random_state=3))
    again = split_cohort(shuffled, SplitSettings(seed=1)).table.set_index("image")["split"]
    other = split_cohort(cohort, SplitSettings(seed=2)).table.set_index("image")["split"]
    pd.testing.assert_series_equal(first.sort_index(), again.sort_index())
    assert (first != other).mean() > 0.1


def test_a_given_split_is_kept() -> None:
    cohort = cohort_of(60, 1, 2, 0)
    table = cohort.table.assign(split="")
    table.loc[table["patient"].isin(["p3", "p5"]), "split"] = "val"
    result = split_cohort(cohort.with_table(table), SplitSettings()).table
    assert set(result.loc[result["patient"].isin(["p3", "p5"]), "split"]) == {"val"}


@pytest.mark.parametrize(
    ("settings_", "words"),
    [
        (SplitSettings(held_out_sites=("elsewhere",)), "elsewhere is not in the cohort"),
        (SplitSettings(held_out_sites=("site0", "site1")), "every site is held out"),
    ],
)
def test_impossible_held_out_sites_are_refused(settings_: SplitSettings, words: str) -> None:
    with pytest.raises(InputError, match=words):
        split_cohort(cohort_of(40, 1, 2, 0), settings_)


def test_a_class_without_training_patients_is_refused() -> None:
    cohort = cohort_of(40, 1, 2, 0)
    only_there = cohort.table["label"].eq("c") & cohort.table["site"].eq("site1")
    cohort = cohort.with_table(cohort.table[~only_there])
    with pytest.raises(InputError, match="no training image of class c"):
        split_cohort(cohort, SplitSettings(held_out_sites=("site0",)))


def test_a_held_out_site_given_as_train_is_refused() -> None:
    cohort = cohort_of(40, 1, 2, 0)
    table = cohort.table.assign(split="")
    table.loc[0, "split"] = "train"
    with pytest.raises(InputError, match="split 'train' at held-out site 'site0'"):
        split_cohort(cohort.with_table(table), SplitSettings(held_out_sites=("site0",)))
