"""The registry's model: predicted with by its address, and served over HTTP."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from offsite.preprocessing.synthetic.fundus.sites import GRADES
from offsite.training.prediction.codes import NOTICE
from offsite.training.prediction.contract import ModelAnswer
from offsite.workflows import serving
from offsite.workflows.package.folder import load_package, write_package
from offsite.workflows.predict.answers.decisions import CaseDecision
from offsite.workflows.predict.answers.judgement import Judge
from offsite.workflows.predict.batch import BatchOptions
from offsite.workflows.predict.output.tables import ACQUISITION
from offsite.workflows.predict.running import opened_model, predict
from offsite.workflows.server.identity import DIGEST
from offsite.workflows.server.image_root import IMAGES, ImageRoot
from offsite.workflows.serving import ServedModel, _load_pyfunc, served_types
from tests.workflows.conftest import FundusRun
from tests.workflows.packages import small_record
from tests.workflows.tiny import TinyPredictor, network, photographs, tiny_package


def test_served_answers_are_those_of_the_batch(
    fundus_run: FundusRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = sorted(fundus_run.cohort.parent.rglob("*.jpg"))[:6]
    bad = tmp_path / "bad.jpg"
    bad.touch()
    options = BatchOptions(output=tmp_path / "out", workers=1)
    predict([*images, bad], str(fundus_run.package), options, site="x", device="cpu")
    batch = pd.read_csv(tmp_path / "out" / "results.csv", keep_default_na=False, dtype=str)
    monkeypatch.setenv(IMAGES, os.path.commonpath([tmp_path, fundus_run.cohort]))
    monkeypatch.setenv(DIGEST, load_package(fundus_run.package).digest)
    served = _load_pyfunc(str(fundus_run.package))
    assert isinstance(served, ServedModel)
    answers = served.predict(pd.DataFrame({"image": [*map(str, images), str(bad)], "site": "x"}))
    assert answers["code"].iloc[-1] == "empty_file"
    assert set(answers["notice"]) == {NOTICE}
    of_a_run = {"number", "case", "patient", "eye", "duplicate_of", "model_version", *ACQUISITION}
    assert set(batch.columns) - set(answers.columns) == of_a_run
    types = served_types(GRADES)
    assert list(answers.columns) == list(types)
    for name, kind in types.items():
        found, wanted = answers[name], batch[name]
        if kind == "double":
            assert list(found.isna()) == list(wanted == ""), name
            numbers = wanted[wanted != ""].astype(float)
            assert np.allclose(found.dropna().astype(float), numbers, atol=1e-6), name
        else:
            assert ["" if cell is None else cell for cell in found] == list(wanted), name


def test_weights_that_give_no_number_are_never_an_all_clear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = {name: torch.full_like(one, torch.nan) for name, one in network().state_dict().items()}
    package = write_package(tmp_path / "package", small_record(), broken, {})
    monkeypatch.setattr(serving, "predictor_for", lambda package, _: TinyPredictor(package))
    images = list(map(str, photographs(tmp_path / "images", 3)))
    asked = pd.DataFrame({"image": images, "site": "north"})  # where 'no referral' may be given
    answers = ServedModel(package, ImageRoot(tmp_path)).predict(asked)
    assert "no_referral" not in set(answers["decision"])
    assert "no" not in set(answers["referable"])


def test_what_cannot_be_judged_is_no_answer_and_spares_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tiny_package(tmp_path / "package")
    monkeypatch.setattr(serving, "predictor_for", lambda package, _: TinyPredictor(package))
    judge, seen = Judge.judge, []

    def failing(
        self: Judge, finding: ModelAnswer, site: str
    ) -> tuple[dict[str, Any], CaseDecision]:
        seen.append(finding)
        if len(seen) == 1:
            raise ValueError("no number")
        return judge(self, finding, site)

    monkeypatch.setattr(Judge, "judge", failing)
    images = list(map(str, photographs(tmp_path / "images", 2)))
    answers = ServedModel(package.path, ImageRoot(tmp_path)).predict(
        pd.DataFrame({"image": images})
    )
    assert answers["code"].iloc[0] == "internal_error"
    assert answers["prediction"].isna().tolist() == [True, False]
    assert answers["decision"].iloc[0] == "human_review"


def test_an_alias_that_moves_meanwhile_changes_nothing(
    fundus_run: FundusRun, tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import offsite.evaluation.tracking.registry
    from offsite.evaluation.tracking.logging import log_run
    from offsite.evaluation.tracking.registry import register_package

    run_id = log_run(store, "test", "run", job_key="key")
    register_package(store, "small", fundus_run.package, run_id)
    package = load_package(fundus_run.package)
    other = write_package(
        tmp_path / "other", package.record.model_copy(update={"name": "other"}), package.weights,
        package.reference,
    )  # fmt: skip
    fetch = offsite.evaluation.tracking.registry.fetch_package

    def slow(uri: str, model: str, destination: Path) -> Path:
        register_package(store, "small", other, run_id)  # takes the alias
        return fetch(uri, model, destination)

    monkeypatch.setattr(offsite.evaluation.tracking.registry, "fetch_package", slow)
    with opened_model("models:/small@candidate", store) as opened:
        assert (opened.record.version, opened.digest) == ("1", package.digest)


def test_a_version_registered_under_the_earlier_module_still_loads(
    fundus_run: FundusRun, tmp_path: Path, store: str
) -> None:
    """Only what an installed package holds is importable: no checkout on the path."""
    from offsite.evaluation.tracking.logging import log_run
    from offsite.evaluation.tracking.registry import register_package

    run_id = log_run(store, "test", "run", job_key="key")
    register_package(
        store, "small", fundus_run.package, run_id,
        loader_module="workflows.serving", outputs=served_types(GRADES),
    )  # fmt: skip
    site = tmp_path / "site"
    site.mkdir()
    (site / "offsite").symlink_to(Path(__file__).parents[2] / "offsite")
    image = next(fundus_run.cohort.parent.rglob("*.jpg"))
    code = f"""
import sys
sys.path[:] = [{str(site)!r}] + [p for p in sys.path if p != {str(Path(__file__).parents[2])!r}]
import mlflow
mlflow.set_tracking_uri({store!r})
model = mlflow.pyfunc.load_model("models:/small@candidate")
print(sys.modules["workflows.serving"].__class__.__name__, "workflows" in sys.modules)
print(model.predict([{{"image": {str(image)!r}}}])["prediction"].notna().tolist())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False,
        env=os.environ | {IMAGES: str(fundus_run.cohort.parent)},
    )  # fmt: skip
    assert done.stdout.splitlines() == ["_EarlierName False", "[True]"], done.stderr


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
def test_registered_predicted_with_and_served(fundus_run: FundusRun, tmp_path: Path) -> None:
    from offsite.evaluation.tracking.logging import log_run
    from offsite.evaluation.tracking.registry import register_package

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    run_id = log_run(uri, "test", "run", job_key="key")
    types = served_types(GRADES)
    register_package(uri, "small", fundus_run.package, run_id, outputs=types)
    images = sorted(fundus_run.cohort.parent.rglob("*.jpg"))[:3]
    options = BatchOptions(output=tmp_path / "out", workers=1)
    outcome = predict(
        images, "models:/small@candidate", options, tracking_uri=uri, site="x", device="cpu"
    )
    assert outcome.exit_code == 0
    batch = pd.read_csv(tmp_path / "out" / "results.csv", keep_default_na=False)
    assert set(batch["model_version"].astype(str)) == {"1"}

    port = free_port()
    programs = Path(sys.executable).parent
    environment = {
        **os.environ, "MLFLOW_TRACKING_URI": uri, "PATH": f"{programs}:{os.environ['PATH']}",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "MLFLOW_DISABLE_TELEMETRY": "true",
        IMAGES: str(fundus_run.cohort.parent),
    }  # fmt: skip
    server = subprocess.Popen(
        [str(programs / "mlflow"), "models", "serve", "-m", "models:/small@candidate",
         "--env-manager", "local", "-p", str(port), "-w", "1"],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        answer = ask(port, {"dataframe_split": {"columns": ["image"],
                            "data": [[str(path)] for path in images]}})  # fmt: skip
        rows = pd.DataFrame(answer["predictions"])
        assert list(rows["decision"]) == list(batch["decision"])
        assert list(rows) == list(types)
        columns = [name for name in batch.columns if name.startswith("prob_")]
        assert np.allclose(rows[columns].astype(float), batch[columns].astype(float), atol=1e-6)
    finally:
        os.killpg(server.pid, 9)
        server.wait()


def ask(port: int, question: dict[str, object]) -> dict[str, object]:
    data = json.dumps(question).encode()
    for _ in range(120):
        try:
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/invocations", data, {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                return dict(json.load(answer))
        except (ConnectionError, urllib.error.URLError):
            time.sleep(1)
    raise TimeoutError("the server never answered")
