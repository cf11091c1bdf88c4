"""MLflow's own page in a real browser: how far it is to the number that a clinic asks for."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

from offsite.evaluation.tracking.logging import log_run
from offsite.evaluation.tracking.methods import method_run, tell_method
from offsite.evaluation.tracking.runs import LOCAL, page_of
from offsite.evaluation.tracking.store import client_of
from offsite.evaluation.tracking.told import Told

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FOUND = "AUROC at the held-out site Zelkova & Söhne: 0.83 (95 % interval 0.79–0.87)"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def server(store: str, tmp_path: Path) -> Iterator[str]:
    """The address of `mlflow ui` on a store with two methods."""
    pytest.importorskip("flask", reason="mlflow's page is not installed")
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    rows = [("Aster", "training", 0.9), ("Zelkova & Söhne", "held_out", 0.83)]
    rows += [("_pooled", "held_out", 0.83)]
    table = pd.DataFrame(
        [
            {"split": "test", "site": site, "site_role": role, "metric": "auroc", "value": value,
             "low": value - 0.04, "high": value + 0.04, "n": 100, "n_positive": 30, "reason": "ok"}
            for site, role, value in rows
        ]
    )  # fmt: skip
    for method in ("linear", "deco"):
        parent = method_run(store, "grading", method, f"key of {method}")
        told = Told(findings=["The summary of the report."], weights="ab" * 32)
        log_run(store, "grading", f"{method}, without Zelkova", job_key=method, per_site=table,
                parent=parent, told=told)  # fmt: skip
        tell_method(store, parent)
    words = [
        sys.executable,
        "-m",
        "mlflow",
        "ui",
        "--backend-store-uri",
        store,
        "--port",
        str(port),
    ]
    words += ["--workers", "1"]
    quiet = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    with (tmp_path / "ui.log").open("w") as log:
        running = subprocess.Popen(
            words, stdout=log, stderr=log, env=quiet, cwd=tmp_path, start_new_session=True
        )
        try:
            yield _answering(f"http://127.0.0.1:{port}", running)
        finally:
            os.killpg(running.pid, 15)
            running.wait(60)


def _answering(address: str, running: subprocess.Popen[bytes]) -> str:
    for _ in range(180):
        assert running.poll() is None, "mlflow ui ended"
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return address
        except OSError:
            time.sleep(1)
    raise AssertionError("mlflow ui does not answer")


def _opened(tab: object, address: str) -> None:
    """Open a page; the server drops calls while its workers are starting."""
    from playwright.sync_api import Error

    for turn in range(10):
        try:
            tab.goto(address)
        except Error:
            assert turn < 9
            time.sleep(3)
        else:
            return


def test_the_held_out_site_is_three_clicks_from_the_first_page_and_one_from_the_link(server, store):
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        tab = started.new_context(viewport={"width": 1280, "height": 900}).new_page()
        tab.set_default_timeout(90_000)
        _opened(tab, server)
        clicks = (
            tab.get_by_text("Model training", exact=True),
            tab.get_by_role("link", name="grading", exact=True),
            tab.get_by_role("link", name="linear", exact=True),
        )
        for each in clicks:
            each.first.click()
        line = tab.get_by_text(FOUND)
        line.wait_for()
        assert line.is_visible()

        straight = started.new_context(viewport={"width": 1280, "height": 900}).new_page()
        straight.set_default_timeout(90_000)
        straight.goto(page_of(store, "grading").replace(LOCAL, server))
        straight.get_by_role("link", name="deco", exact=True).first.click()
        straight.get_by_text(FOUND).wait_for()
        # The printed address of a run needs no click: its description begins with the same words.
        client = client_of(store)
        place = client.get_experiment_by_name("grading").experiment_id
        run = client.search_runs([place], "tags.`mlflow.runName` = 'deco, without Zelkova'")[0]
        itself = started.new_context(viewport={"width": 1280, "height": 1200}).new_page()
        itself.set_default_timeout(90_000)
        itself.goto(page_of(store, "grading", run.info.run_id).replace(LOCAL, server))
        itself.get_by_text(FOUND).first.wait_for()
        itself.get_by_text("headline/held_out/auroc.lo").first.wait_for()
        started.close()
