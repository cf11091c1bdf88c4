import shutil
import sys

import pandas as pd
import pytest

from offsite.errors import InputError
from offsite.evaluation.gate.judging import judge
from offsite.evaluation.gate.rules import GateSettings
from offsite.evaluation.gate.verdict import GateVerdict
from offsite.evaluation.tracking.champion import champion_of, promote
from offsite.evaluation.tracking.logging import log_run
from offsite.evaluation.tracking.registry import fetch_package, find_version, register_package
from offsite.evaluation.tracking.store import client_of


@pytest.fixture
def run_id(store) -> str:
    return log_run(store, "demo", "one", job_key="k")


def test_a_package_comes_back_as_it_went(store, run_id, package, tmp_path):
    version = register_package(store, "tumour", package, run_id, {"cohort": "demo"})
    got = fetch_package(store, "models:/tumour@candidate", tmp_path / "got")
    files = {path.relative_to(package): path.read_bytes() for path in package.rglob("*.*")}
    assert {path.relative_to(got): path.read_bytes() for path in got.rglob("*.*")} == files
    assert find_version(client_of(store), f"models:/tumour/{version}").tags["cohort"] == "demo"


def test_the_same_package_is_one_version_and_a_changed_one_another(store, run_id, package):
    first = register_package(store, "tumour", package, run_id)
    assert register_package(store, "tumour", package, run_id) == first
    (package / "weights.safetensors").write_bytes(b"other")
    second = register_package(store, "tumour", package, run_id)
    assert [first, second] == ["1", "2"]


def test_a_later_package_of_the_same_run_leaves_the_earlier_version_alone(
    store, run_id, package, tmp_path
):
    register_package(store, "tumour", package, run_id)
    before = (package / "weights.safetensors").read_bytes()
    (package / "weights.safetensors").write_bytes(b"other")
    register_package(store, "tumour", package, run_id)
    got = fetch_package(store, "models:/tumour/1", tmp_path / "one")
    assert (got / "weights.safetensors").read_bytes() == before


def test_a_package_changed_in_the_store_is_refused(store, run_id, package, tmp_path):
    register_package(store, "tumour", package, run_id)
    kept = next((tmp_path / "mlartifacts").rglob("weights.safetensors"))
    content = bytearray(kept.read_bytes())
    content[7] ^= 1
    kept.write_bytes(content)
    with pytest.raises(InputError, match="not those registered"):
        fetch_package(store, "models:/tumour@candidate", tmp_path / "got")
    assert not (tmp_path / "got").exists()


def test_fetching_replaces_an_older_package_but_never_another_folder(
    store, run_id, package, tmp_path
):
    register_package(store, "tumour", package, run_id)
    target = fetch_package(store, "models:/tumour@candidate", tmp_path / "got")
    (package / "weights.safetensors").write_bytes(b"other")
    register_package(store, "tumour", package, run_id)
    fetch_package(store, "models:/tumour@candidate", target)
    assert (target / "weights.safetensors").read_bytes() == b"other"
    shutil.copytree(package, tmp_path / "with letter")  # a package, but with more beside it
    for name in ("mine", "with letter"):
        mine = tmp_path / name
        mine.mkdir(exist_ok=True)
        (mine / "letter.txt").write_text("dear")
        with pytest.raises(InputError, match="in use by something else"):
            fetch_package(store, "models:/tumour@candidate", mine)
        assert (mine / "letter.txt").read_text() == "dear"


@pytest.mark.parametrize("model", ["models:/absent@champion", "models:/absent/1", "absent"])
def test_an_unknown_model_is_named(store, model):
    with pytest.raises(InputError, match="no registered model"):
        find_version(client_of(store), model)


def test_a_folder_without_model_json_is_no_package(store, run_id, tmp_path):
    with pytest.raises(InputError, match=r"no model\.json"):
        register_package(store, "tumour", tmp_path, run_id)


LOADER = """
class Model:
    def __init__(self, folder):
        self.folder = folder

    def predict(self, frame, params=None):
        return frame.assign(prediction=sorted(p.name for p in self.folder.iterdir())[0])


def _load_pyfunc(path):
    from pathlib import Path
    return Model(Path(path))
"""


def test_mlflow_serves_a_package_through_an_installed_module(
    store, run_id, package, tmp_path, monkeypatch
):
    (tmp_path / "package_loader.py").write_text(LOADER)
    monkeypatch.syspath_prepend(str(tmp_path))
    register_package(
        store, "tumour", package, run_id,
        loader_module="package_loader", outputs={"image": "string", "prediction": "string"},
    )  # fmt: skip
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    place = client_of(store).get_model_version_download_uri("tumour", "1")
    model = mlflow.pyfunc.load_model(place)
    answer = model.predict(pd.DataFrame({"image": ["a.png"]}))
    assert answer.to_dict("records") == [{"image": "a.png", "prediction": "model.json"}]
    with pytest.raises(mlflow.exceptions.MlflowException, match="image"):
        model.predict(pd.DataFrame({"picture": ["a.png"]}))
    sys.modules.pop("package_loader", None)


def verdict(*, patients: int, wanted: int) -> GateVerdict:
    table = pd.DataFrame(
        [{"site": "East", "site_role": "training", "metric": "auroc", "n_patients": patients}]
    )
    rules = GateSettings.model_validate({"rules": [{"rule": "minimum_n", "patients": wanted}]})
    return judge({"per_site": table}, rules, champion=None, differences=None)


def test_a_passed_version_becomes_champion_and_its_verdict_stays_with_it(store, run_id, package):
    first = register_package(store, "tumour", package, run_id)
    assert champion_of(store, "tumour") is None
    assert promote(store, "tumour", first, verdict(patients=50, wanted=30))
    assert champion_of(store, "tumour") == first
    tags = find_version(client_of(store), "models:/tumour@champion").tags
    assert tags["gate.verdict"] == "passed"
    assert tags["gate.01.minimum_n"] == ("met: at least 30 labelled patients at each of 1 sites")


def test_a_refused_version_keeps_its_reasons_and_leaves_the_champion(store, run_id, package):
    first = register_package(store, "tumour", package, run_id)
    promote(store, "tumour", first, verdict(patients=50, wanted=30))
    (package / "weights.safetensors").write_bytes(b"other")
    second = register_package(store, "tumour", package, run_id)
    refused = verdict(patients=12, wanted=30)
    assert not promote(store, "tumour", second, refused)
    assert champion_of(store, "tumour") == first
    client = client_of(store)
    tags = find_version(client, f"models:/tumour/{second}").tags
    assert tags["gate.verdict"] == "refused"
    assert "12 labelled patients at East" in tags["gate.01.minimum_n"]
    forced = refused.overridden("Board of 3 May: pilot at East only, under supervision")
    assert promote(store, "tumour", second, forced)
    tags = find_version(client, f"models:/tumour/{second}").tags
    assert champion_of(store, "tumour") == second
    assert tags["gate.verdict"] == "overridden"
    assert tags["gate.previous_champion"] == first
    assert promote(store, "tumour", second, verdict(patients=50, wanted=30))
    tags = find_version(client, f"models:/tumour/{second}").tags
    assert tags["gate.verdict"] == "passed"
    assert "gate.override" not in tags


def test_a_registry_that_does_not_answer_is_not_one_without_a_champion(store, run_id, package):
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE
    from mlflow.tracking import MlflowClient

    register_package(store, "tumour", package, run_id)

    def down(*asked: object) -> None:
        raise MlflowException("Service unavailable", TEMPORARILY_UNAVAILABLE)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MlflowClient, "get_model_version_by_alias", down)
        with pytest.raises(InputError, match="gives no answer"):
            champion_of(store, "tumour")
        with pytest.raises(InputError, match="gives no answer"):
            find_version(client_of(store), "models:/tumour@candidate")
    assert champion_of(store, "tumour") is None
    assert champion_of(store, "absent") is None
