import json
import subprocess
import sys
from pathlib import Path

import pytest

from offsite.errors import InputError
from offsite.evaluation.tracking import logging as tracking
from offsite.evaluation.tracking.logging import log_run
from offsite.evaluation.tracking.store import client_of, initialise

CURVES = [
    {"epoch": 0, "losses": {"loss": 1.0}, "scores": {"auroc": 0.5}},
    {"epoch": 1, "losses": {"loss": 0.5}, "scores": {"auroc": None}},
]


def history(uri: str, run_id: str, key: str) -> list[tuple[int, float]]:
    found = client_of(uri).get_metric_history(run_id, key)
    return [(metric.step, metric.value) for metric in found]


def test_a_run_is_logged_whole(store, per_site, tmp_path):
    report = tmp_path / "evaluation"
    report.mkdir()
    (report / "report.html").write_text("<p>")
    curves = tmp_path / "curves.jsonl"
    curves.write_text("".join(json.dumps(line) + "\n" for line in CURVES))
    parent = log_run(store, "demo", "all seeds", job_key="p")
    run_id = log_run(
        store, "demo", "seed 1", job_key="a", parent=parent, curves=curves, per_site=per_site,
        params={"model": {"width": 8}, "note": "x" * 9000}, tags={"seed": "1"}, artifacts=[report],
    )  # fmt: skip
    run = client_of(store).get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["model.width"] == "8"
    assert run.data.metrics["test/hopital_a/auroc.lo"] == 0.8
    assert run.data.tags["site.hopital_a"] == "Hôpital A"
    assert run.data.tags["seed"] == "1"
    assert run.data.tags["mlflow.parentRunId"] == parent
    assert history(store, run_id, "train/loss") == [(0, 1.0), (1, 0.5)]
    assert history(store, run_id, "val/auroc") == [(0, 0.5)]
    artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
    assert (artifacts / "evaluation" / "report.html").read_text() == "<p>"
    assert (artifacts / "per_site.csv").is_file()
    assert artifacts.is_relative_to(tmp_path / "mlartifacts")


def test_a_job_killed_while_it_was_logged_is_completed_and_not_doubled(
    store, per_site, monkeypatch
):
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    whole = tracking._log_metrics

    def half(client, run_id, epochs, final, moment, about):
        whole(client, run_id, epochs[:1], {}, moment, about)
        killed()

    monkeypatch.setattr(tracking, "_log_metrics", half)
    with pytest.raises(KeyboardInterrupt):
        log_run(store, "demo", "one", job_key="k", curves=CURVES, per_site=per_site)
    monkeypatch.undo()
    first = log_run(store, "demo", "one", job_key="k", curves=CURVES, per_site=per_site)
    again = log_run(store, "demo", "one", job_key="k", curves=CURVES, per_site=per_site)
    client = client_of(store)
    experiment = client.get_experiment_by_name("demo").experiment_id
    assert [run.info.run_id for run in client.search_runs([experiment])] == [first] == [again]
    assert history(store, first, "train/loss") == [(0, 1.0), (1, 0.5)]
    assert client.get_run(first).data.metrics["test/hopital_a/auroc"] == 0.9


def test_new_content_of_a_job_replaces_what_is_shown(store, per_site):
    log_run(store, "demo", "one", job_key="k", per_site=per_site)
    per_site.loc[0, "value"] = 0.7
    run_id = log_run(store, "demo", "one", job_key="k", per_site=per_site)
    assert client_of(store).get_run(run_id).data.metrics["test/hopital_a/auroc"] == 0.7


def test_metrics_that_are_measured_no_more_are_named(store, per_site):
    run_id = log_run(store, "demo", "one", job_key="k", curves=CURVES, per_site=per_site)
    fewer = per_site[per_site["metric"] != "severe/specificity"]
    assert "offsite.metric_keys_outdated" not in client_of(store).get_run(run_id).data.tags
    for table, wanted in (
        (fewer, ", ".join(f"test/hopital_a/severe_specificity{end}" for end in ("", ".hi", ".lo"))),
        (per_site, "none"),
    ):
        log_run(store, "demo", "one", job_key="k", curves=CURVES, per_site=table)
        tags = client_of(store).get_run(run_id).data.tags
        assert tags["offsite.metric_keys_outdated"] == wanted


def test_a_job_key_that_does_not_change_with_the_settings_is_refused(store):
    log_run(store, "demo", "one", job_key="k", params={"rate": 0.1})
    with pytest.raises(InputError, match=r"rate = 0.1, now it is 0.2"):
        log_run(store, "demo", "one", job_key="k", params={"rate": 0.2})


def test_a_missing_artifact_is_named_before_anything_is_logged(store, tmp_path):
    with pytest.raises(InputError, match="no such artifact"):
        log_run(store, "demo", "one", job_key="k", artifacts=[tmp_path / "absent"])
    assert client_of(store).get_experiment_by_name("demo") is None


def test_more_than_one_batch_of_each_kind_arrives(store):
    curves = [{"epoch": e, "losses": {f"l{i}": e + i / 100 for i in range(60)}} for e in range(40)]
    params = {f"p{i}": i for i in range(230)}
    run_id = log_run(store, "demo", "many", job_key="k", curves=curves, params=params)
    run = client_of(store).get_run(run_id)
    assert set(params) <= set(run.data.params)
    assert len(run.data.metrics) == 60
    assert history(store, run_id, "train/l59")[-1] == (39, 39.59)


@pytest.mark.parametrize("uri", ["mlruns", "sqlite:///", "mysql://host/db", "file:///tmp/x"])
def test_other_stores_are_refused_with_a_remedy(uri):
    with pytest.raises(InputError, match=r"sqlite:///path/mlflow\.db"):
        initialise(uri)


@pytest.mark.parametrize("damage", [lambda data: data[:30_000], lambda data: data[::-1]])
def test_a_damaged_database_is_named_with_a_remedy(store, damage):
    file = Path(store.removeprefix("sqlite:///"))
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(InputError, match=r"mlflow\.db.*is damaged.*offsite workflow track"):
        client_of(store)


def test_a_relative_database_becomes_absolute(tmp_path, monkeypatch, migrated):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlflow.db").write_bytes(migrated.read_bytes())
    assert initialise("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"


WORKER = """
import sys
from offsite.evaluation.tracking.logging import log_run
uri, number = sys.argv[1], sys.argv[2]
print(log_run(uri, "fresh", f"run {number}", job_key=f"job {int(number) // 2}",
              curves=[{"epoch": 0, "losses": {"loss": 1.0}}]))
"""


@pytest.mark.slow
def test_eight_processes_on_a_fresh_database_all_log_and_print_nothing_else(tmp_path):
    uri = f"sqlite:///{tmp_path / 'fresh' / 'mlflow.db'}"
    run = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, uri, str(number)],
            stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3],
        )
        for number in range(8)
    ]  # fmt: skip
    printed = [process.communicate(timeout=240)[0] for process in run]
    assert [process.returncode for process in run] == [0] * 8
    identifiers = [text.strip() for text in printed]
    assert all(len(text) == 32 for text in identifiers)
    # Two processes share each job key: one run each, whoever came first.
    assert identifiers[::2] == identifiers[1::2]
    assert len(set(identifiers)) == 4
