"""What a package is fitted on: answers that were not trained on, each of them once."""

from pathlib import Path

import numpy as np
import pandas as pd

from offsite.training.run_folder import RunFolder
from offsite.workflows.package.folder import load_package
from offsite.workflows.package.making import ModelFacts, package_run
from offsite.workflows.stages.registration import package
from tests.workflows.run_files import write_cell, write_run

FACTS = ModelFacts(
    name="m", task="slides", target="grade", architecture="sc_mil", positive=("high",)
)


def written(folder: Path, slides: int, pooling: str, patients: int = 24) -> Path:
    """A run of few patients, each with so many slides that all have the patient's answer."""
    run = write_run(folder, 2.0)
    table = pd.read_parquet(run / "predictions.parquet")
    few = table.groupby(["site", "split"]).head(patients)
    again = few.loc[few.index.repeat(slides)].reset_index(drop=True)
    copies = np.tile(np.arange(slides), len(few)).astype(str)
    again["image"] = again["image"] + "-" + copies
    again.to_parquet(run / "predictions.parquet", index=False)
    RunFolder(run).finish(architecture={"name": "sc_mil"}, pooling=pooling)
    return run


def test_copies_of_a_patients_answer_are_no_further_cases(tmp_path: Path) -> None:
    runs = {n: written(tmp_path / f"run-{n}", n, "patient_late") for n in (1, 5)}
    one, five = (
        load_package(package_run(run, None, tmp_path / f"package-{n}", FACTS))
        for n, run in runs.items()
    )
    # 8 positive patients of 24: too few for a threshold, however many slides each of them has.
    assert one.record.profiles["_pooled"].referral is None
    assert five.record.profiles == one.record.profiles
    assert five.record.limits == one.record.limits
    assert five.reference.keys() == one.reference.keys()
    np.testing.assert_array_equal(
        five.reference["conformal/_pooled/scores"], one.reference["conformal/_pooled/scores"]
    )


def test_a_card_does_not_call_intervals_over_images_those_over_patients(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 2.0)
    assert not any("over images" in said for said in load_package(package(run)).record.limits)
    metrics = {"resamples": 100, "unit": "image"}
    write_cell(run, evaluation={"parts": [], "metrics": metrics})
    assert any("over images" in said for said in load_package(package(run)).record.limits)
    metrics = {"resamples": 100, "confidence": 0.9}
    write_cell(run, evaluation={"parts": [], "metrics": metrics})
    assert any("90\u202f% intervals" in said for said in load_package(package(run)).record.limits)


def test_many_slides_of_few_patients_do_not_check_a_site(tmp_path: Path) -> None:
    run = written(tmp_path / "run", 5, "slide", patients=12)
    record = load_package(package_run(run, None, tmp_path / "package", FACTS)).record
    assert record.profiles["_pooled"].referral is not None
    assert "north" not in record.profiles
    assert any("met 8 patients with a positive case" in said for said in record.limits)


def test_results_at_a_threshold_are_those_of_the_packaged_threshold(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 2.0, decision={"positive_classes": ["high"]})
    without = load_package(package(run)).record
    assert not any(one.metric == "positive/sensitivity" for one in without.results)
    assert any("measured at no site" in said for said in without.limits)
    parts = {"parts": ["operating_points"], "metrics": {"resamples": 100}}
    write_cell(run, decision={"positive_classes": ["high"]}, evaluation=parts)
    record = load_package(package(run)).record
    measured = {
        one.metric: one.value
        for one in record.results
        if one.site == "south" and one.metric.startswith("positive/")
    }
    table = pd.read_csv(run / "evaluation" / "operating_points.csv")
    rows = table[(table["site"] == "south") & (table["rule"] == "point")].set_index("metric")
    assert rows["threshold"].iloc[0] != 0.5
    for metric in ("sensitivity", "specificity"):
        assert measured[f"positive/{metric}"] == rows.loc[metric, "value"]
    assert not any("measured at no site" in said for said in record.limits)


def test_the_validation_scores_of_each_site_are_kept_without_rows(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 2.0)
    kept = load_package(package_run(run, None, tmp_path / "package", FACTS)).arrays("scores")
    table = pd.read_parquet(run / "predictions.parquet")
    rows = table[(table["split"] == "val") & (table["site_role"] == "training")]
    assert set(kept) == set(rows["site"])
    for site, scores in kept.items():
        at_site = rows[rows["site"] == site]
        assert scores.shape == (len(at_site), 3)
        assert scores.dtype == np.float32
        assert (np.diff(scores, axis=0) >= 0).all(), "sorted: no row stands for a patient"
        order = np.argsort(at_site["prob_high"].to_numpy())
        raw = at_site["prob_high"].to_numpy()[order]
        # A temperature moves scores and not their order.
        assert np.corrcoef(scores[:, 1], raw)[0, 1] > 0.9
