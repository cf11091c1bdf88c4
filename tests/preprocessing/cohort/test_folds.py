"""Folds: each patient is tested once, none on both sides, classes and sites are even."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offsite.errors import InputError
from offsite.preprocessing.cohort.folds import patient_folds_of, split_fold, whole_cohort
from offsite.preprocessing.cohort.splits import SplitSettings
from offsite.preprocessing.cohort.table import Cohort

CLASSES = ("a", "b", "c")


def cohort_of(patients: int, sites: int, seed: int, *, unlabelled: float = 0.1) -> Cohort:
    """Patients of one to three slides; classes and sites at random, but enough of each class."""
    generator = np.random.default_rng(seed)
    labels = [*CLASSES * 6, *generator.choice(CLASSES, max(patients - 18, 0), p=(0.7, 0.2, 0.1))]
    rows = [
        {"image": f"p{p}-{s}.svs", "slide": f"p{p}-{s}", "patient": f"p{p}",
         "site": f"site{generator.integers(sites)}" if s == 0 else "",
         "label": label if s == 0 or generator.random() > unlabelled else "", "mpp": np.nan}
        for p, label in enumerate(labels)
        for s in range(generator.integers(1, 4))
    ]  # fmt: skip
    table = pd.DataFrame(rows).replace({"site": {"": None}})
    table["site"] = table["site"].ffill()
    return Cohort(table=table, classes=CLASSES, path=Path("cohort.csv"))


def all_folds(cohort: Cohort, folds: int, held_out: tuple[str, ...] = ()) -> list[pd.DataFrame]:
    wanted = SplitSettings(held_out_sites=held_out, val=0.2)
    return [
        split_fold(cohort, wanted, folds=folds, number=number, seed=[0, 1]).table
        for number in range(1, folds + 1)
    ]


@settings(max_examples=25, deadline=None)
@given(
    patients=st.integers(18, 90), sites=st.integers(1, 4), folds=st.integers(2, 6),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_each_patient_is_tested_once_and_by_a_model_that_never_saw_it(
    patients: int, sites: int, folds: int, seed: int
) -> None:
    cohort = cohort_of(patients, sites, seed)
    made = all_folds(cohort, folds)
    tested = pd.concat([table[table["split"] == "test"] for table in made])
    assert sorted(tested["image"]) == sorted(cohort.table["image"])
    for table in made:
        assert (table.groupby("patient")["split"].nunique() == 1).all()
        assert table["image"].tolist() == cohort.table["image"].tolist()
        assert set(table["split"]) == {"train", "val", "test"}
        for name in CLASSES:
            assert {"train", "test"} <= set(table.loc[table["label"] == name, "split"])


@settings(max_examples=25, deadline=None)
@given(
    patients=st.integers(18, 90), sites=st.integers(1, 4), folds=st.integers(2, 6),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_folds_differ_by_one_patient_at_most_in_all_by_class_and_by_class_at_a_site(
    patients: int, sites: int, folds: int, seed: int
) -> None:
    cohort = cohort_of(patients, sites, seed, unlabelled=0)
    people = cohort.table.drop_duplicates("patient").copy()
    people["fold"] = people["patient"].map(patient_folds_of(cohort, folds, [seed]))
    everyone = pd.Series(0, index=range(1, folds + 1))
    for columns in ([], ["label"], ["label", "site"]):
        groups = [people] if not columns else [part for _, part in people.groupby(columns)]
        for part in groups:
            counts = everyone.add(part["fold"].value_counts(), fill_value=0)
            assert counts.max() - counts.min() <= 1


def test_a_held_out_site_is_tested_in_every_fold_and_takes_no_part_in_the_folds() -> None:
    cohort = cohort_of(60, 3, 1)
    for table in all_folds(cohort, 4, ("site0",)):
        away = table[table["site"] == "site0"]
        assert set(away["split"]) == {"test"}
        assert set(away["site_role"]) == {"held_out"}
    inside = cohort.with_table(cohort.table[cohort.table["site"] != "site0"])
    alone = all_folds(inside, 4)
    beside = [table[table["site"] != "site0"] for table in all_folds(cohort, 4, ("site0",))]
    for one, other in zip(alone, beside, strict=True):
        assert one["split"].tolist() == other["split"].tolist()


def test_the_refit_trains_on_every_patient_of_the_training_sites() -> None:
    table = whole_cohort(cohort_of(40, 3, 0), SplitSettings(held_out_sites=("site2",))).table
    assert set(table.loc[table["site"] == "site2", "split"]) == {"test"}
    assert set(table.loc[table["site"] != "site2", "split"]) == {"train"}


def test_the_seed_decides_and_row_order_does_not() -> None:
    cohort = cohort_of(50, 2, 0)
    shuffled = cohort.with_table(cohort.table.sample(frac=1, random_state=3))
    assert patient_folds_of(cohort, 5, [1]) == patient_folds_of(shuffled, 5, [1])
    one, other = (pd.Series(patient_folds_of(cohort, 5, seed)) for seed in ([1], [2]))
    assert (one != other.loc[one.index]).mean() > 0.5


def test_a_class_of_fewer_patients_than_folds_is_refused_by_name() -> None:
    cohort = cohort_of(18, 1, 0, unlabelled=0)
    few = cohort.table["label"].eq("c") & ~cohort.table["patient"].isin(["p2", "p5", "p8"])
    with pytest.raises(InputError) as error:
        all_folds(cohort.with_table(cohort.table[~few]), 5)
    assert error.value.code == "class_without_fold"
    assert "3 patients of class c" in error.value.problem
    assert "of 5 would test none" in error.value.problem
    assert "Set cells.folds to 3 or fewer" in str(error.value.remedy)


def test_a_class_that_hides_behind_a_more_severe_one_is_refused_too() -> None:
    """Patients are dealt by their most severe class: all images of class a may lie in few folds."""
    rows = [(f"p{n}", "b") for n in range(12)] + [(f"p{n}", "a") for n in range(0, 12, 4)]
    table = pd.DataFrame(rows, columns=["patient", "label"]).assign(site="s", mpp=np.nan)
    table["image"] = table["slide"] = [f"{n}.svs" for n in range(len(table))]
    cohort = Cohort(table=table, classes=("a", "b"), path=Path("cohort.csv"))
    with pytest.raises(InputError, match="3 patients of class a"):
        split_fold(cohort, SplitSettings(), folds=4, number=1, seed=[0])


def test_a_table_that_divides_its_patients_is_refused_with_the_row() -> None:
    cohort = cohort_of(90, 3, 0)
    given_ = cohort.table.assign(split="")
    given_.loc[4, "split"] = "val"
    for divide in (
        lambda table: all_folds(cohort.with_table(table), 3),
        lambda table: whole_cohort(cohort.with_table(table), SplitSettings()),
    ):
        with pytest.raises(InputError) as error:
            divide(given_)
        assert (error.value.code, error.value.row) == ("split_and_folds", 6)
    away = given_.loc[4, "site"]
    given_.loc[4, "split"] = "test"
    assert len(all_folds(cohort.with_table(given_), 3, (away,))) == 3
