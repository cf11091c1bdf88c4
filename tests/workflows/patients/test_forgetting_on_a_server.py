"""A patient is forgotten where MLflow is a server, and not where it does not answer; who confirms it."""

import os
import pty
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pandas as pd
import pytest
import requests
import yaml
from mlflow.exceptions import MlflowException

from offsite.evaluation.tracking.store import client_of
from offsite.files import read_json
from offsite.workflows.jobs.job import Job
from tests.workflows.patients import jobs
from tests.workflows.patients.test_forgetting import naming
from tests.workflows.sown import state
from tests.workflows.test_serving import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@contextmanager
def plain_server(folder: Path) -> Iterator[tuple[str, str]]:
    """The address of an MLflow server on SQLite that keeps the files itself, and its database."""
    folder.mkdir()
    database, port = f"sqlite:///{folder}/kept.db", free_port()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database,
             "--artifacts-destination", str(folder / "files"), "--port", str(port), "--workers", "1"],
            stdout=log, stderr=log, cwd=folder,
        )  # fmt: skip
        address = f"http://127.0.0.1:{port}"
        try:
            for _ in range(300):
                with suppress(requests.RequestException):  # also one that is slow to begin
                    if requests.get(f"{address}/health", timeout=5).ok:
                        break
                assert process.poll() is None, (folder / "log").read_text()[-2000:]
                time.sleep(0.3)
            yield address, database
        finally:
            process.terminate()
            process.wait(60)


@contextmanager
def refusing_server() -> Iterator[str]:
    """A server that asks everybody for a password."""

    class Refusing(BaseHTTPRequestHandler):
        def _refuse(self) -> None:
            self.send_error(401)

        do_GET = do_POST = _refuse

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def tracked_by(config: Path, uri: str) -> None:
    """Let a job log to another store."""
    settings = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump(settings | {"tracking": {"uri": uri}}))


def forget(config: Path, patient: str, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "offsite", "patient", "forget", str(config), patient, *more],
        capture_output=True, text=True, stdin=subprocess.DEVNULL,
        env={**os.environ, "COLUMNS": "200", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"},
    )  # fmt: skip


def forget_at_a_terminal(config: Path, patient: str, typed: str) -> tuple[int, str]:
    """Exit code and all that was shown where a person types a line."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "offsite", "patient", "forget", str(config), patient],
        stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    os.close(theirs)
    os.write(ours, f"{typed}\n".encode())
    shown = b""
    with suppress(OSError):  # the other end is closed
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    return process.wait(), shown.decode()


def bytes_of(folder: Path) -> dict[str, tuple[object, ...]]:
    known = state([folder])
    return {path: each for path, each in known.items() if "lock" not in Path(path).name}


def test_runs_and_versions_of_the_patient_go_from_a_server_and_its_keeper_removes_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")  # so that what the address holds is gone with the test
        monkeypatch.delenv(name)
    config = jobs.photographs(tmp_path / "job", ("linear",))
    patient = str(pd.read_csv(tmp_path / "job" / "cohort" / "cohort.csv")["patient"].iloc[5])
    with plain_server(tmp_path / "server") as (uri, database):
        given = uri.replace("http://", "http://keeper:s3cret-7@")
        tracked_by(config, given)
        job = jobs.do(config)
        client = client_of(uri)
        (before,) = client.search_model_versions("name = 'offsite'")
        kept = tmp_path / "server" / "files"
        assert list(kept.rglob(f"{before.run_id}/**/report.html"))

        as_it_was = bytes_of(tmp_path / "job")
        with refusing_server() as refusing:
            tracked_by(config, refusing)
            refused = forget(config, patient, "--yes")
        assert refused.returncode == 2, refused.stderr
        assert "refused the user or the password" in " ".join(refused.stderr.split())
        tracked_by(config, f"http://127.0.0.1:{free_port()}")
        offline = forget(config, patient, "--yes")
        assert offline.returncode == 2, offline.stderr
        assert "tracking server" in offline.stderr
        assert "Traceback" not in refused.stderr + offline.stderr
        tracked_by(config, given)
        assert bytes_of(tmp_path / "job") == as_it_was
        unasked = forget(config, patient)
        assert (unasked.returncode, bytes_of(tmp_path / "job")) == (2, as_it_was)
        other = forget_at_a_terminal(config, patient, f"{patient}-2")
        assert (other[0], bytes_of(tmp_path / "job")) == (2, as_it_was)
        assert "that is another name" in other[1]
        assert "run of MLflow" in other[1]

        code, shown = forget_at_a_terminal(config, patient, patient)
        assert code == 0, shown
        (after,) = client.search_model_versions("name = 'offsite'")
        assert (str(after.version), after.run_id != before.run_id) == ("2", True)
        assert client.get_run(before.run_id).info.lifecycle_stage == "deleted"
        experiments = [each.experiment_id for each in client.search_experiments()]
        keys = {
            run.data.tags.get("offsite.job_key") for run in client.search_runs(experiments)
        }  # fmt: skip
        record = read_json(job.run_folder(job.cells()[0]) / "run.json")
        assert record["key"] in keys
        (entry,) = read_json(job.output / "forgotten.json")["forgotten"]
        assert entry["deleted"] == [before.run_id]
        assert entry["runs"][0]["before"] not in keys

        (command,) = re.findall(r"mlflow gc [^\r\n]*", shown)
        assert f"--tracking-uri {uri} " in command
        words = command.replace("DATABASE", database).split()
        gone = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True)
        assert gone.returncode == 0, gone.stderr
        assert not list(kept.rglob(f"{before.run_id}/**/*.html"))
        assert list(kept.rglob(f"{after.run_id}/**/report.html"))
        with pytest.raises(MlflowException):
            client.get_run(before.run_id)
    assert Job.load(config).configuration.tracking.uri == given
    # The password stands in the job's file, and in nothing that was shown, made or logged.
    assert "s3cret-7" not in shown + other[1] + unasked.stderr + gone.stderr
    assert naming(tmp_path, ["s3cret-7"]) == ["job/job.yaml"]
