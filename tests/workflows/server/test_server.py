"""A served model: images of one folder, requests of bounded size, the registered package alone."""

import hashlib
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import requests
import uvicorn

from offsite.errors import InputError
from offsite.evaluation.tracking.logging import log_run
from offsite.evaluation.tracking.registry import register_package
from offsite.training.prediction.contract import Rejected
from offsite.workflows import serving
from offsite.workflows.package.folder import Package, load_package
from offsite.workflows.package.verification import ModelRefused
from offsite.workflows.server.application import application
from offsite.workflows.server.identity import DIGEST
from offsite.workflows.server.image_root import IMAGES, ImageRoot
from offsite.workflows.serving import ServedModel, _load_pyfunc, served_types
from tests.workflows.tiny import TinyPredictor, photographs, tiny_package


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small network answers, and no server of before has left its settings behind."""
    monkeypatch.setattr(serving, "predictor_for", lambda package, _: TinyPredictor(package))
    for name in (DIGEST, IMAGES):
        monkeypatch.setenv(name, "")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of three photographs, beside a secret, with ways out of the folder."""
    folder = tmp_path / "images"
    photographs(folder, 3)
    (tmp_path / "secret.txt").write_text("known to few")
    (folder / "way-out").symlink_to(tmp_path / "secret.txt")
    (folder / "notes.txt").write_text("no image")
    os.mkfifo(folder / "pipe")
    return folder


def answers(model: ServedModel, *names: Any) -> list[dict[str, Any]]:
    return model.predict(pd.DataFrame({"image": list(names)})).to_dict("records")


def test_what_lies_outside_is_answered_as_what_is_not_there(tmp_path: Path, images: Path) -> None:
    model = ServedModel(tiny_package(tmp_path / "package").path, ImageRoot(images))
    outside = [
        "/etc/shadow", "/etc/passwd", "/dev/zero", "/proc/self/environ", "../secret.txt", "way-out",
        str(tmp_path / "secret.txt"), str(images), ".", "", "pipe", "a\0b", "x" * 5000, "~",
    ]  # fmt: skip
    absent, *rest = answers(model, "not-there.jpg", *outside)
    assert (absent["code"], absent["decision"]) == ("not_available", "human_review")
    for name, row in zip(outside, rest, strict=True):
        told = {key: value for key, value in row.items() if key != "input"}
        assert told == {key: value for key, value in absent.items() if key != "input"}, name


def test_an_image_has_its_digest_and_what_is_none_has_no_digest(
    tmp_path: Path, images: Path
) -> None:
    model = ServedModel(tiny_package(tmp_path / "package").path, ImageRoot(images))
    image = min(images.glob("*.png"))
    good, by_path, bad = answers(model, image.name, str(image), "notes.txt")
    assert good["input_sha256"] == hashlib.sha256(image.read_bytes()).hexdigest()
    assert (by_path["prediction"], by_path["input_sha256"]) == (
        good["prediction"], good["input_sha256"],
    )  # fmt: skip
    assert (bad["code"], bad["input_sha256"]) == ("not_an_image", "")


@contextmanager
def listening(package: Package, images: Path, most_bytes: int) -> Iterator[str]:
    """The address of a server, for as long as it is needed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    app = application(package, images, served_types(package.record.classes), most_bytes)
    settings = uvicorn.Config(app, port=port, log_level="error")
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.02)
            assert thread.is_alive()
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        server.should_exit = True
        thread.join()


def test_requests_are_bounded(tmp_path: Path, images: Path) -> None:
    package = tiny_package(tmp_path / "package")
    name = min(path.name for path in images.glob("*.png"))
    as_json = {"content-type": "application/json"}
    with listening(package, images, 4096) as address:

        def asked(*rows: list[Any], columns: tuple[str, ...] = ("image", "site")) -> Any:
            table = {"columns": columns, "data": rows}
            return requests.post(address, json={"dataframe_split": table}, timeout=60)

        good = asked([name, "north"])
        assert good.status_code == 200, good.text
        assert good.json()["predictions"][0]["status"] in ("ok", "review")
        assert asked(["y" * 5000, "north"]).status_code == 413
        assert requests.post(address, b"x" * 5000, headers=as_json, timeout=60).status_code == 413
        deep = requests.post(address, b"[" * 4000, headers=as_json, timeout=60)
        assert (deep.status_code, "nested" in deep.text) == (400, True)
        unmeasured = iter([b"x" * 3000] * 3)
        assert requests.post(address, unmeasured, headers=as_json, timeout=60).status_code == 413
        for wrong in (asked([None, None]), asked([5, 7]), asked([[name], "x"])):
            assert wrong.status_code == 400 or "not_available" in wrong.text
        assert asked(["z"], columns=("z",)).status_code == 400
        assert asked([name, "<script>"]).json()["predictions"][0]["site"] == "<script>"
    with pytest.raises(Exception, match="a request may have 1000"):
        ServedModel(package.path, ImageRoot(images)).predict(pd.DataFrame({"image": [name] * 1001}))


def test_a_package_that_was_changed_in_the_store_is_refused_though_its_sums_fit(
    tmp_path: Path, images: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.setenv(IMAGES, str(images))
    made = tiny_package(tmp_path / "package")
    register_package(store, "small", made.path, log_run(store, "test", "run", job_key="key"))
    with monkeypatch.context() as patched:
        patched.setenv("MLFLOW_TRACKING_URI", store)
        mlflow.set_tracking_uri(store)
        assert isinstance(_load_pyfunc(str(made.path)), ServedModel)
        changed = tmp_path / "changed"
        shutil.copytree(made.path, changed)
        record = json.loads((changed / "model.json").read_text())
        for profile in record["profiles"].values():
            profile["referral"]["threshold"] = 1.0
        (changed / "model.json").write_text(json.dumps(record))
        names = ("model.json", "weights.safetensors", "reference.npz", "card.md")
        (changed / "SHA256SUMS").write_text(
            "".join(
                f"{hashlib.sha256((changed / n).read_bytes()).hexdigest()}  {n}\n" for n in names
            )
        )
        load_package(changed)  # by its own sums it is whole
        with pytest.raises(ModelRefused, match="not the one that was registered"):
            _load_pyfunc(str(changed))
        mlflow.set_tracking_uri(None)
    monkeypatch.setenv(DIGEST, made.digest)
    assert isinstance(_load_pyfunc(str(made.path)), ServedModel)
    with pytest.raises(ModelRefused, match="not the one that was registered"):
        _load_pyfunc(str(changed))


def test_without_a_digest_or_a_folder_nothing_is_served(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    package = tiny_package(tmp_path / "package").path
    with pytest.raises(InputError, match="none is named") as caught:
        _load_pyfunc(str(package))
    assert IMAGES in caught.value.remedy
    monkeypatch.setenv(IMAGES, str(images))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    mlflow.set_tracking_uri(None)
    with pytest.raises(ModelRefused, match="no registered digest") as refused:
        _load_pyfunc(str(package))
    assert DIGEST in refused.value.remedy
    with pytest.raises(InputError, match="no such folder of images"):
        ImageRoot(tmp_path / "absent")


def test_a_name_within_the_folder_is_a_path(images: Path) -> None:
    root = ImageRoot(images)
    inner = images / "day" / "a.jpg"
    inner.parent.mkdir()
    inner.write_bytes(b"x")
    assert root.path_of("day/a.jpg") == root.path_of(str(inner)) == inner.resolve()
    with pytest.raises(Rejected):
        root.path_of("day/../../secret.txt")
