"""Scores of validation slides, and which epoch they select."""

import json

import numpy as np
import pytest
from slides_on_disk import settings

from offsite.pathology.training import _fit_settings, train_pathology
from offsite.pathology.validation import validation_scores


def test_validation_weighs_classes_equally_and_names_what_is_undefined():
    logits = np.log(np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.6, 0.4]]))
    scores = validation_scores(logits, np.array([0, 0, 0, 1]), 2)
    assert scores["loss"] == pytest.approx(-(np.log(0.9) + np.log(0.4)) / 2)
    assert scores["balanced_accuracy"] == 0.5
    assert scores["macro_auroc"] == 1.0
    assert scores["macro_f1"] == pytest.approx(3 / 7)
    assert validation_scores(logits, np.zeros(4, int), 2)["macro_auroc"] is None


def test_a_validation_set_that_lacks_a_class_is_said_to(run, cohort, folder, tmp_path, caplog):
    table = cohort.table.copy()
    table.loc[(table["split"] == "val") & (table["label"] == "tumour"), "label"] = ""
    train_pathology(cohort.with_table(table), folder, settings(epochs=1), tmp_path / "run")
    assert "no validation item is of class tumour" in caplog.text
    lacking = [
        json.loads((path / "run.json").read_text())["facts"]["classes_not_validated"]
        for path in (tmp_path / "run", run[0])
    ]
    assert lacking == [["tumour"], []]


def test_with_few_validation_patients_the_last_epoch_is_kept_and_said_to_be(run):
    facts = json.loads((run[0] / "run.json").read_text())["facts"]
    assert (facts["selected_epoch"], facts["epochs"]) == (5, 6)
    assert facts["selected_because"] == "too few to compare epochs"
    assert "(normal 4, tumour 2)" in facts["selection_note"]
    assert (
        json.loads((run[0] / "fit.json").read_text())["result"]["note"] == facts["selection_note"]
    )


def test_epochs_are_compared_from_the_first_or_once_the_classifier_leads(cohort, folder, tmp_path):
    def first_open(classifier):
        given = settings(model={"contrast": {"schedule": "linear", "classifier": classifier}})
        fit_settings = _fit_settings(given)
        return next(epoch for epoch in range(6) if fit_settings.selectable(epoch))

    assert (first_open("always"), first_open("handed_over")) == (0, 2)
    compared = settings()
    compared = compared.model_copy(
        update={"fit": compared.fit.model_copy(update={"fewest_validated": 1, "patience": 1})}
    )
    train_pathology(cohort, folder, compared, tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "run.json").read_text())["facts"]
    assert facts["selected_because"] == "best"
    losses = [
        json.loads(line)["scores"]["loss"]
        for line in (tmp_path / "run" / "curves.jsonl").read_text().splitlines()
    ]
    assert facts["selected_epoch"] == int(np.argmin(losses))
    if facts["epochs"] < 6:  # patience saw the loss rise
        assert facts["epochs"] == facts["selected_epoch"] + 2
