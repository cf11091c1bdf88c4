"""A model loaded in Python answers as the command does."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import offsite
from offsite.evaluation.tracking.registry import register_package
from offsite.evaluation.tracking.store import client_of
from offsite.workflows.package.verification import ModelRefused
from offsite.workflows.predict.batch import BatchOptions
from offsite.workflows.predict.running import predict

SEPARATE = {"set_90", "set_95", "reasons", "quality_reasons"}  # lists here, text in a CSV


@pytest.fixture(scope="module")
def cases(slide_run: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two slides, and a file that is none."""
    broken = tmp_path_factory.mktemp("cases") / "letter.svs"
    broken.write_text("no slide")
    images = pd.read_csv(slide_run.cohort)["image"][:2]
    return [*(slide_run.cohort.parent / image for image in images), broken]


def test_the_answers_are_those_of_the_command(
    slide_run: Any, cases: list[Path], tmp_path: Path
) -> None:
    predict(cases, str(slide_run.package), BatchOptions(output=tmp_path / "out"), site="aster")
    command = pd.read_csv(tmp_path / "out" / "results.csv", encoding="utf-8-sig")
    model = offsite.load_model(slide_run.package)
    found = model.predict(cases, site="aster")
    assert list(found.columns) == list(command.columns)
    plain = [name for name in found.columns if name not in SEPARATE | {"answered_at"}]
    for name in plain:
        wanted = command[name]
        if pd.api.types.is_numeric_dtype(wanted) and not pd.api.types.is_bool_dtype(wanted):
            numbers = pd.to_numeric(found[name])
            pd.testing.assert_series_equal(numbers, wanted, check_dtype=False, atol=1e-6)
        else:
            left, right = (
                values.fillna("").astype(str).replace({"True": "yes", "False": "no"}).tolist()
                for values in (found[name], wanted)
            )
            assert left == right, name
    assert model.classes == tuple(n.removeprefix("prob_") for n in found if n.startswith("prob_"))


def test_a_bad_file_is_a_row_with_its_reason(slide_run: Any, cases: list[Path]) -> None:
    found = offsite.load_model(slide_run.package).predict(cases)
    assert found["status"].tolist()[2] == "error"
    assert found["code"][2] != "ok"
    assert found["decision"][2] == "human_review"
    assert found.filter(like="prob_").iloc[2].isna().all()


def test_a_folder_can_be_kept_and_gone_on_with(
    slide_run: Any, cases: list[Path], tmp_path: Path
) -> None:
    model = offsite.load_model(str(slide_run.package), device="cpu")
    first = model.predict(cases[0], output=tmp_path / "out")
    assert (tmp_path / "out" / "index.html").is_file()
    both = model.predict(cases[:2], output=tmp_path / "out")
    assert (len(first), len(both)) == (1, 2)


def test_a_registered_model_is_loaded_by_its_alias(
    slide_run: Any,
    cases: list[Path],
    store: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(
        tmp_path
    )  # the default experiment keeps its files below the working directory
    run = client_of(store).create_run("0").info.run_id
    register_package(store, "grader", slide_run.package, run)
    model = offsite.load_model("models:/grader@candidate", tracking_uri=store)
    assert model.version == "1"
    assert model.predict(cases[0], site="aster")["model_version"].tolist() == ["1"]


def test_a_model_that_was_changed_is_refused(slide_run: Any, tmp_path: Path) -> None:
    shutil.copytree(slide_run.package, tmp_path / "package")
    (tmp_path / "package" / "card.md").write_text("better")
    with pytest.raises(ModelRefused):
        offsite.load_model(tmp_path / "package")
    with pytest.raises(offsite.InputError, match="no such model package"):
        offsite.load_model(tmp_path)
