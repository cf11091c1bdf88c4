"""Runs in which a patient's slides have one answer."""

import json

import numpy as np
import pandas as pd
import pytest
from slides_on_disk import copied, settings

from offsite.pathology.training import train_pathology


@pytest.mark.parametrize("pooling", ["patient_union", "patient_late"])
def test_a_patient_s_slides_share_one_answer(pooling, cohort, folder, tmp_path):
    table = train_pathology(cohort, folder, settings(epochs=2, pooling=pooling), tmp_path / "run")
    assert table.groupby("patient")["prob_tumour"].nunique().eq(1).all()
    facts = json.loads((tmp_path / "run" / "run.json").read_text())["facts"]
    per_patient = pooling == "patient_union"
    assert facts["pooling"] == pooling
    n_train = cohort.table[cohort.table["split"] == "train"]
    expected = n_train["patient"].nunique() if per_patient else len(n_train)
    assert sum(facts["training_bags"]) == expected


def test_a_patient_s_answer_is_judged_by_the_patient_s_label(cohort, folder, tmp_path):
    """Of a tumour patient's two slides, one shows nothing."""
    table = cohort.table.copy()
    table.loc[table["slide"] == "p0-1", "label"] = "normal"
    mixed = cohort.with_table(table)
    for pooling in ("patient_union", "patient_late"):
        path = tmp_path / pooling
        found = train_pathology(mixed, folder, settings(epochs=1, pooling=pooling), path)
        own = found[found["patient"] == "p0"]
        assert own["label"].tolist() == ["tumour", "tumour"]
        assert own["slide_label"].tolist() == ["tumour", "normal"]
    by_slide = train_pathology(mixed, folder, settings(epochs=1), tmp_path / "slide")
    assert by_slide.set_index("slide").loc["p0-1", "label"] == "normal"
    assert "slide_label" not in by_slide


@pytest.mark.parametrize("pooling", ["patient_union", "patient_late"])
def test_a_patient_keeps_its_label_without_the_slide_that_gives_it(
    pooling, cohort, folder, tmp_path
):
    table = cohort.table.copy()
    table.loc[table["slide"] == "p0-1", "label"] = "normal"
    part = copied(folder, tmp_path / "features", without=["p0-0"])
    chosen, run = settings(epochs=1, pooling=pooling), tmp_path / "run"
    found = train_pathology(cohort.with_table(table), part, chosen, run)
    assert found.set_index("slide").loc["p0-1", "label"] == "tumour"
    excluded = pd.read_csv(run / "excluded.csv").set_index("slide")
    facts = json.loads((run / "run.json").read_text())["facts"]
    train = table[table["split"] == "train"]
    assert facts["slides_excluded"] == 1
    if pooling == "patient_union":  # what is left of the patient need not show the tumour
        row = excluded.loc["p0-1", ["status", "code"]]
        assert row.tolist() == ["not_trained_on", "decisive_slide_missing"]
        assert sum(facts["training_bags"]) == train["patient"].nunique() - 1
    else:
        assert excluded.index.tolist() == ["p0-0"]
        assert sum(facts["training_bags"]) == len(train) - 1


def test_late_fusion_is_the_mean_of_the_slides(run, cohort, folder, tmp_path):
    late = train_pathology(cohort, folder, settings(pooling="patient_late"), tmp_path / "run")
    expected = run[1].groupby("patient")["prob_tumour"].transform("mean")
    np.testing.assert_allclose(late["prob_tumour"], expected, atol=1e-9)
