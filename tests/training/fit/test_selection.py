"""Which epoch is selected, and when epochs are not compared at all."""

import json

import numpy as np
import pytest
from problem import Net, lines, points, settings, source

from offsite.training.fit.loop import fit
from offsite.training.fit.selection import Selection, patients_by_class
from offsite.training.fit.settings import FitSettings


def scores(values, name="kappa"):
    return lambda algorithm, epoch: {name: values[epoch]}


@pytest.mark.parametrize(
    ("values", "changes", "epoch", "epochs", "reason"),
    [
        ([0.1, 0.9, 0.5, 0.6], {}, 1, 4, "best"),
        ([0.1, 0.9, 0.5, 0.6], {"select_by": "error", "mode": "min"}, 0, 4, "best"),
        ([0.1, 0.9, 0.5, 0.6], {"mode": "max"}, 1, 4, "best"),
        ([0.1, 0.9, 0.5, 0.6], {"select_after": 0.75}, 3, 4, "best"),
        ([0.1, 0.9, 0.5, 0.6], {"select_after": 1.0}, 3, 4, "best"),
        ([0.1, 0.9, 0.5, 0.6], {"patience": 1}, 1, 3, "best"),
        ([0.9, 0.5, 0.6, 0.55], {"select_after": 0.75, "patience": 1}, 2, 4, "best"),
        ([0.5, 0.5, 0.5, 0.5], {"patience": 2}, 0, 3, "best"),  # the first of equals
        ([None, 0.2, float("nan"), 0.1], {}, 1, 4, "best"),
        ([None, None, None, None], {"patience": 1}, 3, 4, "no score defined"),
    ],
)
def test_selection(tmp_path, values, changes, epoch, epochs, reason):
    given = settings(**({"select_by": "kappa"} | changes))
    name = given.select_by
    result = fit(Net(), source(points()), given, tmp_path, scores(values, name))
    assert (result.epoch, result.epochs, result.reason) == (epoch, epochs, reason)
    assert result.score == (values[epoch] if reason == "best" else None)
    assert len(lines(tmp_path)) == epochs


FALLS = [0.8, 0.9, 0.7, 0.6]


@pytest.mark.parametrize(
    ("patients", "changes", "epoch", "epochs", "reason"),
    [
        ({"a": 10, "b": 10}, {}, 1, 4, "best"),
        ({"a": 90, "b": 9}, {}, 3, 4, "too few to compare epochs"),
        ({"a": 90, "b": 0}, {"patience": 1}, 3, 4, "too few to compare epochs"),
        ({"a": 2, "b": 1}, {"fewest_validated": 0}, 1, 4, "best"),
        ({"a": 2, "b": 1}, {"fewest_validated": 1, "patience": 2}, 1, 4, "best"),
        ({"a": 90, "b": 9}, {"averaging": "ema"}, 3, 4, "too few to compare epochs"),
        (None, {"patience": 1}, 1, 3, "best"),  # how many there are is not known
    ],
)
def test_epochs_are_compared_by_enough_patients_of_each_class_or_not_at_all(
    tmp_path, patients, changes, epoch, epochs, reason
):
    given = settings(**({"select_by": "kappa"} | changes))
    result = fit(Net(), source(points()), given, tmp_path, scores(FALLS), validated=patients)
    assert (result.epoch, result.epochs, result.reason) == (epoch, epochs, reason)
    assert result.score == FALLS[epoch]
    assert ("fewer than 10 validation patients" in result.note) == (reason != "best")
    told = json.loads((tmp_path / "fit.json").read_text())["result"]
    assert (told["reason"], told["note"]) == (reason, result.note)
    again = fit(Net(), source(points()), given, tmp_path, scores(FALLS), validated=patients)
    assert again == result


def test_of_too_few_patients_only_the_few_are_named():
    found = patients_by_class(
        np.array([0, 0, 1, 1, -1]), ["p", "p", "p", "q", "r"], ["none", "mild", "severe"]
    )
    assert found == {"none": 1, "mild": 2, "severe": 0}
    chosen = Selection(settings(fewest_validated=2), validates=True, patients=found)
    assert "(none 1, severe 0)" in chosen.note
    assert Selection(settings(), validates=False, patients=found).note == ""


@pytest.mark.parametrize(
    ("score", "mode"),
    [("loss", "min"), ("macro_auroc", "max"), ("balanced_accuracy", "max"), ("auc", "max")],
)
def test_the_direction_of_a_known_score_is_its_own(score, mode):
    assert FitSettings(select_by=score).mode == mode
    other = {"max": "min", "min": "max"}[mode]
    with pytest.raises(ValueError, match=f"worst '{score}'"):
        FitSettings(select_by=score, mode=other)
    with pytest.raises(ValueError, match="mode must say"):
        FitSettings(select_by="surprise")
    assert FitSettings(select_by="surprise", mode="max").mode == "max"
    with pytest.raises(ValueError, match="swad_by"):
        FitSettings(swad_by="kappa")
