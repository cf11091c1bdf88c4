"""A password in a store's address reaches the server, and nobody's screen, log or file."""

import base64
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from offsite.errors import InputError
from offsite.evaluation.tracking.address import PASSWORD, USER, to_show, without_login
from offsite.evaluation.tracking.runs import page_of
from offsite.evaluation.tracking.store import (
    check_address,
    client_of,
    database_path,
    initialise,
    store_exists,
)
from offsite.evaluation.tracking.withdrawal import gc_command
from offsite.workflows.cli import app
from offsite.workflows.jobs.configuration import load_configuration
from offsite.workflows.predict.running import tracking_store

SECRET = "s3cret-7"


@pytest.fixture(autouse=True)
def no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for name in (USER, PASSWORD):
        monkeypatch.setenv(name, "")


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """The address of a server that refuses everybody, and the logins that it was asked with."""
    asked: list[str] = []

    class Refusing(BaseHTTPRequestHandler):
        def _refuse(self) -> None:
            asked.append(self.headers.get("Authorization", ""))
            self.send_error(401)

        do_GET = do_POST = _refuse

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Refusing) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{serving.server_port}", asked
        serving.shutdown()


@pytest.mark.parametrize(
    ("given", "bare"),
    [
        (f"http://ada:{SECRET}@mlflow:5000/base", "http://mlflow:5000/base"),
        (f"https://ada:{SECRET}/x@y?z@mlflow", "https://mlflow"),
        (f"https://{SECRET}@mlflow", "https://mlflow"),
        (f"postgresql+psycopg2://ada:{SECRET}@db/mlflow", "postgresql+psycopg2://db/mlflow"),
        (f"ada:{SECRET}@db", "db"),
        (f"sqlite://ada:{SECRET}@db", "sqlite://db"),
        ("sqlite:////srv/ada:x@y/mlflow.db", "sqlite:////srv/ada:x@y/mlflow.db"),
        ("http://mlflow", "http://mlflow"),
    ],
)
def test_an_address_loses_its_login_and_nothing_else(given: str, bare: str) -> None:
    assert without_login(given) == bare
    assert without_login(bare) == bare
    assert to_show(f"{bare}?password={SECRET}").partition("?")[0] == bare


def test_the_server_is_asked_with_the_login_of_its_address(server: tuple[str, list[str]]) -> None:
    address, asked = server
    with pytest.raises(InputError, match="refused the user or the password") as caught:
        client_of(f"http://ada:{SECRET}%21@{address}")
    assert SECRET not in str(caught.value)
    assert os.environ[PASSWORD] == f"{SECRET}!"
    login = base64.b64encode(f"ada:{SECRET}!".encode()).decode()
    assert set(asked) == {f"Basic {login}"}


@pytest.mark.parametrize(
    "refused",
    [check_address, client_of, database_path, initialise, store_exists,
     lambda uri: page_of(uri, "any")],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["postgresql://ada:{}@db/runs", "mysql://db/runs?password={}"])
def test_no_refusal_of_an_address_repeats_its_password(
    refused: Callable[[str], object], kind: str
) -> None:
    with pytest.raises(InputError) as caught:
        refused(kind.format(SECRET))
    assert caught.value.code == "tracking_uri"
    assert SECRET not in str(caught.value)


def test_what_is_handed_on_and_printed_has_no_login() -> None:
    uri = f"https://ada:{SECRET}@mlflow"
    assert tracking_store(uri) == "https://mlflow"
    assert gc_command(uri, ["a"]).split()[4:6] == ["--tracking-uri", "https://mlflow"]
    with pytest.raises(InputError, match="options after") as caught:
        check_address(f"{uri}?token={SECRET}")
    assert SECRET not in str(caught.value)


def test_commands_and_what_is_kept_of_a_job_say_no_password(
    server: tuple[str, list[str]], tmp_path: Path
) -> None:
    """Of a database that is refused, and of a server that refuses."""
    (tmp_path / "cohort.csv").write_text("image,patient,site,label\na.png,p,s,a\n")
    uris = (f"postgresql://ada:{SECRET}@db/runs", f"http://ada:{SECRET}@{server[0]}")
    job = {"task": "retina", "cohort": "cohort.csv", "classes": ["a", "b"]}
    for uri in uris:
        (tmp_path / "job.yaml").write_text(yaml.safe_dump(job | {"tracking": {"uri": uri}}))
        config = str(tmp_path / "job.yaml")
        said = []
        for words in (
            ["doctor", "--tracking-uri", uri],
            ["model", "info", "models:/any@champion", "--tracking-uri", uri],
            ["workflow", "track", config, "--tracking-uri", uri],
            ["workflow", "check", config],
            ["patient", "find", config, "p"],
        ):
            done = CliRunner().invoke(app, words)
            said.append(done.output + str(done.exception))
        assert sum(" tracking s" in " ".join(text.split()) for text in said) >= 3, said
        assert SECRET not in "".join(said)
        kept = load_configuration(tmp_path / "job.yaml").model_dump(mode="json")
        assert kept["tracking"]["uri"] == without_login(uri)
