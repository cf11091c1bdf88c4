"""Tracking and registry on a real MLflow server: PostgreSQL, a password, artifacts through it.

It installs PostgreSQL and starts a server as root, so it runs by ``make server`` alone.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd
import pytest
import requests

from offsite.workflows.jobs.job import Job
from tests.workflows import deadly
from tests.workflows.job_files import small_job, write_job
from tests.workflows.test_serving import free_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1100),
    pytest.mark.skipif(os.environ.get("OFFSITE_SERVER") != "1", reason="make server runs it"),
]
ROOT = Path(__file__).parents[3]
SERVER = ROOT / "workflows" / "clusters" / "mlflow-server"
EPOCHS, SITES = 60, 20
WORKER = """
import sys
from pathlib import Path
import pandas as pd
from offsite.evaluation.tracking.logging import log_run
uri, number, folder, epochs, sites = sys.argv[1], *map(str, sys.argv[2:])
job = int(number) // 2
table = pd.DataFrame([
    {"split": "test", "site": f"site {i}", "site_role": "training", "metric": "auroc",
     "value": 0.5 + i / 100 + job / 1000, "low": 0.4, "high": 0.9, "n": 10, "n_positive": 5}
    for i in range(int(sites))])
curves = [{"epoch": e, "losses": {"loss": 1 / (e + 1) + job}} for e in range(int(epochs))]
print(log_run(uri, "shared", f"run {job}", job_key=f"job {job}", params={"job": job},
              curves=curves, per_site=table, artifacts=[Path(folder)]))
"""


@pytest.fixture(scope="module")
def uri(open_folder: Path) -> Iterator[str]:
    home = open_folder
    path = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    log = (home / "start.log").open("w")  # the server lives on: a pipe would never close
    try:
        code = subprocess.run(
            [SERVER, "start", home], stdout=log, stderr=log, env=path, timeout=300
        )
        assert code.returncode == 0, (home / "start.log").read_text()[-2000:]
        for line in (home / "environment").read_text().splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            os.environ[name] = value
        yield os.environ["MLFLOW_TRACKING_URI"]
    finally:
        subprocess.run([SERVER, "stop", home], stdout=log, stderr=log, env=path, timeout=60)
        log.close()


def test_processes_at_once_lose_no_metric_and_double_no_run(uri: str, tmp_path: Path) -> None:
    from offsite.evaluation.tracking.store import client_of

    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.html").write_text("<p>kept</p>")
    words = [sys.executable, "-c", WORKER, uri]
    run = [
        subprocess.Popen(
            [*words, str(number), str(tmp_path / "report"), str(EPOCHS), str(SITES)],
            stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for number in range(8)
    ]  # fmt: skip
    printed = [process.communicate(timeout=240)[0].strip() for process in run]
    assert [process.returncode for process in run] == [0] * 8
    assert printed[::2] == printed[1::2]  # two processes share a job: one run, whoever came first
    client = client_of(uri)
    place = client.get_experiment_by_name("shared").experiment_id
    runs = client.search_runs([place])
    assert sorted(run.info.run_id for run in runs) == sorted(set(printed))
    assert len(runs) == 4
    for run in runs:
        job = int(run.data.params["job"])
        assert run.info.status == "FINISHED"
        history = client.get_metric_history(run.info.run_id, "train/loss")
        found = sorted((metric.step, metric.value) for metric in history)  # none twice either
        assert found == [(step, pytest.approx(1 / (step + 1) + job)) for step in range(EPOCHS)]
        for site in range(SITES):
            value = run.data.metrics[f"test/site_{site}/auroc"]
            assert value == pytest.approx(0.5 + site / 100 + job / 1000)
        assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
        names = {item.path for item in client.list_artifacts(run.info.run_id, "report")}
        assert names == {"report/report.html"}


def test_first_calls_of_one_job_at_the_same_moment_make_one_run(uri: str) -> None:
    from offsite.evaluation.tracking.logging import log_run
    from offsite.evaluation.tracking.store import client_of

    curves = [{"epoch": epoch, "losses": {"loss": 1.0 + epoch}} for epoch in range(5)]
    client_of(uri).create_experiment("race")
    together = threading.Barrier(8)

    def ask(_: int) -> str:
        together.wait()
        return log_run(uri, "race", "one", job_key="one", curves=curves)

    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(ask, range(8)))
    client = client_of(uri)
    runs = client.search_runs([client.get_experiment_by_name("race").experiment_id])
    assert {run.info.run_id for run in runs} == found
    assert len(found) == 1
    history = client.get_metric_history(found.pop(), "train/loss")
    assert sorted((metric.step, metric.value) for metric in history) == [
        (epoch, 1.0 + epoch) for epoch in range(5)
    ]


def offsite(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "offsite", *map(str, words)],
        capture_output=True, text=True, env={**os.environ, "COLUMNS": "200", **environment},
    )  # fmt: skip


@pytest.fixture(scope="module")
def job(uri: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job that the workflow did whole, with its model in the registry of the server."""
    folder = tmp_path_factory.mktemp("job")
    small_job(folder)
    config = write_job(
        folder, tracking={"uri": uri, "experiment": "workflow", "model": "served"},
        training={"batch_size": 4, "instances": 16, "fit": {"epochs": 2}},
        cells={"shards": 1, "methods": ["sc_mil", "cross_entropy"]},
    )  # fmt: skip
    done = offsite("workflow", "run", config)
    assert done.returncode == 0, done.stderr[-3000:]
    return config


def test_the_workflow_runs_against_the_server(uri: str, job: Path, tmp_path: Path) -> None:
    from offsite.evaluation.tracking.registry import fetch_package, find_version
    from offsite.evaluation.tracking.store import client_of

    config, done_job = job, Job.load(job)
    assert (done_job.output / "workflow" / "registered.txt").read_text() == "models:/served/1\n"
    assert not (done_job.output / "mlflow.db").exists()

    again = [offsite("track", config), offsite("register", config)]
    assert [run.returncode for run in again] == [0, 0], [run.stderr for run in again]
    client = client_of(uri)
    every = client.search_runs([client.get_experiment_by_name("workflow").experiment_id])
    runs = [run for run in every if run.data.tags.get("offsite.kind") != "method"]
    assert len(runs) == 2
    above = {run.data.tags["mlflow.parentRunId"] for run in runs}
    assert above == {run.info.run_id for run in every} - {run.info.run_id for run in runs}
    table = pd.read_csv(done_job.run_folder(done_job.cells()[0]) / "evaluation" / "per_site.csv")
    wanted = table[(table["site"] == "_pooled") & (table["metric"] == "auroc")]["value"].dropna()
    logged = {value for run in runs for key, value in run.data.metrics.items()
              if key.startswith("test/_pooled") and key.endswith("/auroc")}  # fmt: skip
    for value in wanted:
        assert any(value == pytest.approx(number) for number in logged)
    assert [v.version for v in client.search_model_versions("name = 'served'")] in (["1"], [1])
    assert str(find_version(client, "models:/served@candidate").version) == "1"
    assert (fetch_package(uri, "models:/served@candidate", tmp_path / "m") / "model.json").is_file()
    password = os.environ["MLFLOW_TRACKING_PASSWORD"]
    for file in (*job.parent.rglob("*.json"), *job.parent.rglob("*.log"), config):
        assert password not in file.read_text(errors="replace"), file

    refused = offsite("track", config, MLFLOW_TRACKING_PASSWORD="guess")
    assert refused.returncode == 2, refused.stderr
    assert "refused the user or the password" in refused.stderr
    assert "Traceback" not in refused.stderr


@contextmanager
def served(
    uri: str, images: Path, **environment: str
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of a model served from the registry, and the process that serves it."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "offsite", "model", "serve", "models:/served@candidate",
         "--images", str(images), "--tracking-uri", uri, "--port", str(port)],
        stderr=subprocess.PIPE, text=True, env={**os.environ, **environment},
    )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.terminate()
        process.communicate(timeout=60)


def ask(address: str, *rows: list[object], seconds: float = 120) -> requests.Response:
    table = {"columns": ["image", "site"], "data": rows}
    return requests.post(f"{address}/invocations", json={"dataframe_split": table}, timeout=seconds)


def test_the_served_model_tells_nothing_of_other_files(uri: str, job: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    slide = next((job.parent / "cohort" / "slides").iterdir())
    shutil.copy(slide, images / "good.svs")
    deadly.aborting_slide(images / "abort.svs", slide)
    deadly.pipe(images / "pipe.svs")
    deadly.sparse(images / "sparse.svs")
    (images / "way-out.svs").symlink_to("/etc/shadow")
    outside = ["/etc/shadow", "/etc/passwd", "/etc/nonexistent", "/root", "/proc/self/environ",
               "/dev/zero", "../../../etc/passwd", "way-out.svs", "pipe.svs", "a\0b",
               "x" * 5000, ".", ""]  # fmt: skip
    with served(uri, images) as (address, process):
        for _ in range(600):
            with suppress(requests.ConnectionError):
                if requests.get(f"{address}/ping", timeout=5).ok:
                    break
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.2)

        def rows(*names: str) -> list[dict[str, object]]:
            answered = ask(address, *([name, "aster"] for name in names))
            assert answered.status_code == 200, answered.text[:300]
            return list(answered.json()["predictions"])

        (good,) = rows("good.svs")
        assert good["status"] in ("ok", "review")
        absent, *rest = rows("not-there.svs", *outside)
        assert absent["code"] == "not_available"
        for name, row in zip(outside, rest, strict=True):
            assert {**row, "input": ""} == {**absent, "input": ""}, name
        crashed, sparse = rows("abort.svs", "sparse.svs")
        assert (crashed["code"], sparse["input_sha256"]) == ("crashed", "")
        assert rows("good.svs")[0]["prediction"] == good["prediction"], "it answers on"
        with ThreadPoolExecutor(20) as pool:
            many = list(pool.map(lambda _: rows("good.svs")[0]["prediction"], range(20)))
        assert set(many) == {good["prediction"]}
        assert ask(address, *([["good.svs", "x"]] * 1001)).status_code == 400
        assert ask(address, ["y" * (2 << 20), "x"]).status_code == 413
        deep = requests.post(
            f"{address}/invocations", b"[" * 100_000, timeout=60,
            headers={"content-type": "application/json"},
        )  # fmt: skip
        assert deep.status_code == 400


def test_a_package_that_was_changed_in_the_store_is_served_by_nobody(
    uri: str, job: Path, open_folder: Path, tmp_path: Path
) -> None:
    (record,) = (open_folder / "artifacts").rglob("package/model.json")
    package, kept = record.parent, tmp_path / "kept"
    shutil.copytree(package, kept)
    try:
        changed = json.loads(record.read_text())
        for profile in changed["profiles"].values():
            for name in ("referral", "urgent"):
                if profile.get(name):
                    profile[name]["threshold"] = 1.0
        record.write_text(json.dumps(changed))
        names = [path.name for path in package.iterdir() if path.name != "SHA256SUMS"]
        sums = [f"{hashlib.sha256((package / n).read_bytes()).hexdigest()}  {n}\n" for n in names]
        (package / "SHA256SUMS").write_text("".join(sums))
        words = ("models:/served@candidate", "--tracking-uri", uri)
        one = offsite("model", "serve", *words, "--images", tmp_path)
        other = offsite("predict", job.parent / "cohort" / "cohort.csv", "-m", *words, "-o",
                        tmp_path / "out")  # fmt: skip
        for done in (one, other):
            assert (done.returncode, "Traceback" in done.stderr) == (4, False), done.stderr[-500:]
            assert "not those registered" in " ".join(done.stderr.split())
    finally:
        shutil.rmtree(package)
        shutil.copytree(kept, package)
