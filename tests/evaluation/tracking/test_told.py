"""What a run's page tells besides numbers: words, data, model, times, and what stands above it."""

from pathlib import Path

import pandas as pd
import pytest

from offsite.evaluation.tracking.data_parts import data_parts, model_of, parts_of_cohort
from offsite.evaluation.tracking.describing import LONGEST, description, headline
from offsite.evaluation.tracking.logging import log_run
from offsite.evaluation.tracking.methods import method_run, tell_method
from offsite.evaluation.tracking.registry import find_version, register_package
from offsite.evaluation.tracking.runs import how_to_look, page_of
from offsite.evaluation.tracking.store import client_of
from offsite.evaluation.tracking.told import Told
from offsite.evaluation.tracking.withdrawal import logged_under, withdraw


def estimate(site: str, role: str, value: float | None, **more: object) -> dict:
    bounds = {} if value is None else {"low": value - 0.04, "high": value + 0.04}
    row = {"split": "test", "site": site, "site_role": role, "metric": "auroc", "value": value}
    return row | {"n": 100, "n_positive": 30, "reason": "ok"} | bounds | more


TABLE = pd.DataFrame(
    [
        estimate("Aster", "training", 0.9),
        estimate("Zelkova", "held_out", 0.83),
        estimate("_pooled", "held_out", 0.83),
    ]
)
PREDICTED = pd.DataFrame(
    {
        "image": ["a", "b", "c", "d"],
        "patient": ["p", "p", "q", "r"],
        "site": ["Aster", "Aster", "Aster", "Zelkova"],
        "split": ["train", "val", "test", "test"],
        "label": ["x", "y", "x", "y"],
    }
)
TOLD = Told(
    findings=["At the weakest site it was low.", "Drift: <script>alert(1)</script>"],
    pages="The whole report: artifacts.",
    parts=data_parts(PREDICTED),
    weights="ab" * 32,
    started=1_700_000_000_000,
    finished=1_700_000_360_000,
)


@pytest.fixture
def run(store):
    return log_run(store, "demo", "one", job_key="k", per_site=TABLE, told=TOLD)


def test_the_description_begins_with_the_held_out_site_and_its_interval(store, run):
    text = client_of(store).get_run(run).data.tags["mlflow.note.content"]
    first = "**AUROC at the held-out site Zelkova: 0.83 (95 % interval 0.79–0.87)**"
    assert text.startswith(first)
    assert "- At the weakest site it was low." in text
    assert "<script>" not in text
    assert text.endswith("The whole report: artifacts.\n\nResearch use only.")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [estimate("A", "held_out", None, reason="single_class")],
            "A: not defined (one class only)",
        ),
        ([estimate("A", "training", 0.9)], "AUROC at the training site A: 0.90"),
        ([estimate(f"s{n}", "held_out", 0.5) for n in range(8)], "at 8 held-out sites: s0 0.50"),
        ([estimate(f"s{n}", "held_out", 0.5) for n in range(8)], "3 more"),
        ([estimate("_pooled", "all", 0.9)], "no site was measured"),
        ([], "nothing was measured"),
    ],
)
def test_the_headline_says_what_there_is(rows, said):
    assert said in headline(pd.DataFrame(rows, columns=list(estimate("A", "training", 1.0))))


def test_a_description_that_would_be_too_long_says_how_much_it_leaves_out():
    text = description(
        "head", [f"sentence {number}: " + "x" * 400 for number in range(30)], "pages"
    )
    assert len(text) <= LONGEST
    assert "more findings stand in the report" in text
    assert text.endswith("Research use only.")


def test_data_have_digests_of_images_and_labels_and_no_names(store, run):
    inputs = client_of(store).get_run(run).inputs.dataset_inputs
    found = {each.dataset.name: (each.dataset.digest, each.tags[0].value) for each in inputs}
    assert {name: context for name, (_, context) in found.items()} == {
        "Aster, test": "test", "Aster, training": "training", "Aster, validation": "validation",
        "Zelkova, test": "test",
    }  # fmt: skip
    changed = data_parts(PREDICTED.assign(label=["x", "y", "y", "y"]))
    now = {part.name: part.digest for part in changed}
    same = {name for name, (digest, _) in found.items() if now[name] == digest}
    assert same == set(found) - {"Aster, test"}
    shuffled = {part.name: part.digest for part in data_parts(PREDICTED.iloc[::-1])}
    assert shuffled == {name: digest for name, (digest, _) in found.items()}
    cohort = pd.DataFrame({"site": ["A"], "split": ["test"], "n": [3], "n_patients": [2]})
    assert parts_of_cohort(cohort, "f" * 64)[0].name == "A, test"


def test_the_model_is_listed_once_with_its_numbers_by_site_and_linked_from_its_version(
    store, run, package
):
    client = client_of(store)
    model = model_of(client.get_run(run))
    assert model is not None
    listed = client.get_logged_model(model)
    assert listed.source_run_id == run
    assert listed.tags["offsite.weights"] == "ab" * 32
    by_key = {metric.key: metric for metric in listed.metrics}
    assert by_key["test/zelkova/auroc"].value == 0.83
    assert by_key["test/zelkova/auroc"].dataset_name == "Zelkova, test"
    assert by_key["headline/held_out/auroc.lo"].value == pytest.approx(0.79)
    version = register_package(store, "tumour", package, run)
    assert find_version(client, f"models:/tumour/{version}").run_id == run
    more = TABLE.assign(value=TABLE["value"] - 0.01)
    assert log_run(store, "demo", "one", job_key="k", per_site=more, told=TOLD) == run
    assert model_of(client.get_run(run)) == model
    assert len(client.search_logged_models([client.get_run(run).info.experiment_id])) == 1


def test_times_are_those_of_the_work_and_not_of_the_logging(store, run):
    info = client_of(store).get_run(run).info
    assert (info.start_time, info.end_time) == (1_700_000_000_000, 1_700_000_360_000)


def test_runs_of_a_method_stand_under_one_that_tells_what_each_found(store):
    parent = method_run(store, "demo", "linear", "key of linear", TOLD.started)
    assert method_run(store, "demo", "linear", "key of linear") == parent
    below = [
        log_run(store, "demo", f"linear without {site}", job_key=site, parent=parent, told=TOLD,
                per_site=TABLE.replace({"Zelkova": site}))
        for site in ("Yew", "Zelkova")
    ]  # fmt: skip
    tell_method(store, parent)
    client = client_of(store)
    text = client.get_run(parent).data.tags["mlflow.note.content"]
    place = client.get_run(parent).info.experiment_id
    for run_id, site in zip(below, ("Yew", "Zelkova"), strict=True):
        line = next(each for each in text.splitlines() if f"linear without {site}" in each)
        assert f"(#/experiments/{place}/runs/{run_id})" in line
        assert f"AUROC at the held-out site {site}: 0.83" in line
        assert client.get_run(run_id).data.tags["mlflow.parentRunId"] == parent
    info = client.get_run(parent).info
    assert (info.status, info.start_time) == ("FINISHED", TOLD.started)
    assert info.end_time == TOLD.finished


def test_an_experiment_opens_at_its_runs_also_one_of_an_earlier_build(store):
    client = client_of(store)
    client.create_experiment("earlier")
    run_id = log_run(store, "earlier", "one", job_key="k")
    tags = client.get_experiment_by_name("earlier").tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    place = client.get_run(run_id).info.experiment_id
    kind = "?workflowType=machine_learning"
    assert page_of(store, "earlier") == f"http://127.0.0.1:5000/#/experiments/{place}/runs{kind}"
    assert page_of(store, "earlier", run_id).endswith(f"/{place}/runs/{run_id}{kind}")
    assert f"mlflow ui --backend-store-uri {store}" in how_to_look(store, "earlier")


def test_a_run_of_an_earlier_build_is_found_again_and_told_more(store):
    """Such a run has neither parent nor model, and a thousand keys."""
    client = client_of(store)
    first = log_run(store, "demo", "one", job_key="k", curves=[])
    client.log_metric(first, "test/aster/log_loss", 0.4)
    client.set_tag(first, "offsite.metric_keys_left_out", "312")
    parent = method_run(store, "demo", "linear", "key")
    again = log_run(store, "demo", "one", job_key="k", per_site=TABLE, told=TOLD, parent=parent)
    assert again == first
    run = client.get_run(first)
    assert run.data.tags["mlflow.parentRunId"] == parent
    assert run.data.metrics["test/aster/log_loss"] == 0.4
    assert run.data.tags["offsite.metric_keys_outdated"] == "test/aster/log_loss"
    assert run.data.tags["offsite.metric_keys_left_out"] == "0"
    assert Path(run.info.artifact_uri.removeprefix("file://"), "per_site.csv").is_file()


def test_a_run_that_is_withdrawn_takes_its_model_and_its_line_along(store):
    parent = method_run(store, "demo", "linear", "key")
    for name in ("one", "two"):
        log_run(store, "demo", name, job_key=name, parent=parent, told=TOLD, per_site=TABLE)
    tell_method(store, parent)
    client = client_of(store)
    place = client.get_run(parent).info.experiment_id
    assert withdraw(store, logged_under(store, ["one"])) == []
    text = client.get_run(parent).data.tags["mlflow.note.content"]
    assert "[two]" in text
    assert "[one]" not in text
    assert [each.name for each in client.search_logged_models([place])] == ["two"]
    withdraw(store, logged_under(store, ["two"]))
    assert client.search_runs([place]) == []
    assert list(client.search_logged_models([place])) == []
