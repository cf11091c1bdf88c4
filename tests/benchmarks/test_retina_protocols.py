import numpy as np
import pandas as pd
import pytest
from retina_protocols import run_protocol
from retina_results import site_results, training_threshold

from offsite.preprocessing.cohort.splits import SplitSettings
from offsite.preprocessing.synthetic.fundus.sites import GRADES
from offsite.retina.settings import RetinaSettings
from offsite.training.cells import divisions_of, experiment_cells


def test_a_stopped_protocol_goes_on_and_ends_with_the_same_table(prepared, tmp_path):
    settings = RetinaSettings.model_validate(
        {"backbone": {"width": 4}, "fit": {"epochs": 1, "device": "cpu", "select_by": "loss"}}
    )
    divisions = divisions_of("leave_one_site_out", prepared.cohort.sites[:2])
    cells = experiment_cells(("erm",), divisions, (0,))
    splits = SplitSettings(val=0.2, test=0.2)
    done = []

    def run(folder, go_on=lambda: True):
        return run_protocol(
            prepared.cohort, prepared.folder, settings, cells, folder, splits=splits,
            progress=lambda number, total, cell: done.append(cell.name), go_on=go_on,
        )  # fmt: skip

    part = run(tmp_path / "p", go_on=lambda: not done)
    assert done == [cells[0].name]
    first = tmp_path / "p" / cells[0].name / "weights.safetensors"
    stamp = first.stat().st_mtime_ns
    whole = run(tmp_path / "p")
    assert first.stat().st_mtime_ns == stamp
    assert whole["division"].nunique() == 2
    pd.testing.assert_frame_equal(whole.iloc[: len(part)], part)
    saved = pd.read_csv(tmp_path / "p" / "results.csv")
    assert saved["kappa"].to_numpy() == pytest.approx(whole["kappa"].to_numpy())


def predictions(labels, called, site="s", split="test", role="held_out"):
    table = pd.DataFrame({"site": site, "site_role": role, "split": split, "label": labels})
    for number, name in enumerate(GRADES):
        table[f"prob_{name}"] = np.where(np.array(called) == number, 0.6, 0.1)
    return table


def test_perfect_calls_score_one_and_constant_ones_chance():
    perfect = site_results(predictions(list(GRADES), range(5)), GRADES).iloc[0]
    assert perfect[["auc", "accuracy", "kappa", "referable_auc"]].tolist() == [1, 1, 1, 1]
    constant = site_results(predictions(list(GRADES), [2] * 5), GRADES).iloc[0]
    assert constant[["auc", "kappa", "vision_threatening_auc"]].tolist() == [0.5, 0, 0.5]


def test_figures_without_both_kinds_are_undefined_and_not_zero():
    only = site_results(predictions(["none", "none"], [0, 1]), GRADES).iloc[0]
    assert only[["auc", "kappa", "referable_auc", "sensitivity"]].isna().all()


def test_the_threshold_comes_from_the_training_sites_validation_alone():
    val = predictions(["moderate"] * 10, [2] * 9 + [0], "t", "val", "training")
    test = predictions(["severe", "none"], [0, 3])
    table = pd.concat([val, test], ignore_index=True)
    assert training_threshold(table, GRADES) == pytest.approx(0.8)
    assert training_threshold(test, GRADES) is None
    figures = site_results(table, GRADES).iloc[0]
    assert figures["sensitivity"] == 0
    assert figures["specificity"] == 0


def test_a_configuration_that_names_one_setting_of_the_fit_keeps_the_others():
    partly = RetinaSettings.model_validate({"fit": {"epochs": 5}}).fit
    assert partly.model_dump() == {**RetinaSettings().fit.model_dump(), "epochs": 5}
