"""One catalogue says of every metric its words, direction, range and scale."""

import math

import numpy as np
import pandas as pd
import pytest

from offsite.errors import InputError
from offsite.evaluation.making import made_tables
from offsite.evaluation.metrics.catalogue import FUNCTIONS, metric_names
from offsite.evaluation.metrics.entries import METRICS, PER_SITE, Metric
from offsite.evaluation.metrics.names import described
from offsite.evaluation.predictions.tasks import Task, tasks_of
from offsite.evaluation.report.settings import ReportSettings
from offsite.evaluation.settings import EvaluationSettings, TaskSettings
from offsite.evaluation.statistics.intervals import SCALES
from offsite.evaluation.statistics.measured import Measured, Request
from offsite.evaluation.statistics.site import Site
from offsite.evaluation.tables.meta_analysis import shrunken_table
from offsite.evaluation.tables.summaries import worst_and_gap

ILL = TaskSettings(positive_classes=("b",), reference_prevalence=0.5)


def test_every_metric_that_is_measured_is_in_the_catalogue() -> None:
    task = TaskSettings(positive_classes=("b",), reference_prevalence=0.5)
    classes = ("a", "b", "c")
    members = np.array([False, True, False])
    request = Request(
        classes=classes,
        tasks=[Task(name="ill", settings=task, members=members)],
        references={"ill": 0.5},
    )
    for name in metric_names(request):
        metric = described(name)
        assert metric.limits[0] < metric.limits[1]
        assert metric.scale in SCALES


def test_direction_range_and_scale_go_together() -> None:
    for metric in METRICS.values():
        combined = metric.scale != "none"
        assert combined == (metric.name in PER_SITE)
        if combined:
            assert (metric.higher is False) == (metric.scale == "log")
            assert (metric.limits[0] < 0) == (metric.scale == "fisher")
    assert described("log_loss").limits == (0.0, math.inf)
    assert described("ill/brier").limits == (0.0, 1.0)
    assert described("prevalence/mild").higher is None


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_has_a_function_that_makes_it_and_a_formula(name: str) -> None:
    assert callable(FUNCTIONS[name])
    assert METRICS[name].formula.endswith((".", ".)"))


def test_the_function_of_a_metric_is_the_one_that_measures_it() -> None:
    classes, settings = ("a", "b", "c"), EvaluationSettings(tasks={"ill": ILL})
    even = np.full((30, 3), 1 / 3)
    site = Site(labels=np.arange(30) % 3, probabilities=even, units=np.arange(30))
    request = Request(classes=classes, tasks=tasks_of(classes, settings), references={"ill": 0.5})
    for function in {FUNCTIONS[name] for name in PER_SITE}:
        for measured in function(site, request):
            plain = measured.name.removeprefix("ill/")
            assert FUNCTIONS[plain.split("/")[0]] is function or "/" in measured.name


def test_every_name_in_every_table_is_in_the_catalogue(make_sites) -> None:
    predictions = make_sites({"a": 300, "b": 300, "away": 120}, held_out=("away",))
    settings = ReportSettings.model_validate(
        {
            "metrics": {
                "tasks": {"ill": {"positive_classes": ["c2"]}},
                "resamples": 100,
                "calibration_simulations": 50,
            },
            "ood": {"detectors": ["msp"], "resamples": 50},
            "shift": {"permutations": 19, "resamples": 50, "null_splits": 19},
        }
    )
    made = made_tables(predictions, settings, None, None)
    names = {
        str(name)
        for table in made.values()
        for column in ("metric", "statistic")
        if column in table
        for name in table[column]
    }
    assert len(names) > 60
    for name in names:
        assert described(name).formula


@pytest.mark.parametrize(("name", "near"), [("aurok", "auroc"), ("ill/sensitivty", "sensitivity")])
def test_an_unknown_metric_is_refused_with_the_nearest_names(name: str, near: str) -> None:
    with pytest.raises(InputError, match=f"no metric '{name}'") as error:
        described(name)
    assert near in error.value.remedy


def test_a_new_metric_has_one_worst_site_in_every_table(monkeypatch: pytest.MonkeyPatch) -> None:
    new = Metric(
        "error_rate", "error rate", "Errors", "a:b", "Share of errors.", higher=False, scale="logit"
    )
    monkeypatch.setitem(METRICS, "error_rate", new)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    rates = {"a": 0.1, "b": 0.4, "c": 0.2}
    measured = []
    for name, rate in rates.items():
        site = Site(
            name=name,
            role="training",
            labels=np.zeros(20, dtype=np.int64),
            probabilities=np.full((20, 2), 0.5),
            units=np.arange(20),
            draws=(np.ones((101, 20), "uint8"),),
        )
        values = np.r_[rate, rate + 0.01 * rng.normal(size=100)]
        measured.append((site, {"error_rate": Measured(name="error_rate", values=values, n=20)}))
    worst, gap = worst_and_gap("error_rate", measured, EvaluationSettings())
    assert (worst["detail"], worst["value"]) == ("b", 0.4)
    assert gap["detail"] == "a > b"
    table = pd.DataFrame(
        {
            "split": "test",
            "site": list(rates),
            "site_role": "training",
            "metric": "error_rate",
            "value": list(rates.values()),
            "effect": [float(np.log(rate / (1 - rate))) for rate in rates.values()],
            "effect_error": 0.2,
            "reason": "ok",
        }
    )
    shrunken = shrunken_table(table, EvaluationSettings())
    rows = shrunken[(shrunken["site"] == "_worst") & (shrunken["metric"] == "error_rate")]
    assert set(rows["value"]) == {worst["value"]}
