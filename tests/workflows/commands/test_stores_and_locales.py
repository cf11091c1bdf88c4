"""Names that break a store are a sentence, readers make no store, and any locale starts in UTF-8."""

import os
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from offsite.errors import InputError
from offsite.evaluation.tracking.keys import check_model_name
from offsite.evaluation.tracking.store import check_address, client_of
from offsite.training.run_folder import RunFolder
from offsite.workflows.cli import app
from offsite.workflows.jobs.job import Job
from tests.workflows.command import call
from tests.workflows.jobs.test_checking import job_file
from tests.workflows.packages import small_package
from tests.workflows.run_files import write_run


@pytest.mark.parametrize(
    "name", ["a/b", "a:b", "", " ", ".", "..", 'a"b', "a'b", "a\nb", "a" * 101]
)
def test_a_name_that_no_registry_keeps_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        check_model_name(name)
    assert caught.value.code == "model_name"


@pytest.mark.parametrize("name", ["grader", "grade v1.2", "Größe", "a@b", "50 %"])
def test_other_names_are_kept(name: str) -> None:
    check_model_name(name)


@pytest.mark.parametrize(
    "uri", ["sqlite:///a.db?timeout=30", "sqlite:///", "ftp://server", "a.db", "postgresql://x/y"]
)
def test_an_address_that_is_none_is_refused(uri: str) -> None:
    with pytest.raises(InputError) as caught:
        check_address(uri)
    assert caught.value.code == "tracking_uri"


@pytest.mark.parametrize(
    "words",
    [
        "model info models:/a@champion",
        "model verify models:/a/1",
        "model export models:/a/1 -o copy",
        "predict images -m models:/a@champion -o out",
        "predict images -m models:/a@champion -o out --dry-run",
        "model promote models:/a/1 --because because-it-was-decided",
    ],
)
def test_a_command_that_reads_makes_no_store(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    uri = f"sqlite:///{tmp_path}/new/mistyped.db"
    done = CliRunner().invoke(app, [*words.split(), "--tracking-uri", uri])
    assert isinstance(done.exception, InputError), done.output
    assert done.exception.code == "no_store"
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_the_doctor_makes_no_store_and_says_that_there_is_none(tmp_path: Path) -> None:
    from offsite.workflows.doctor import _database

    assert "is not there yet" in _database(f"sqlite:///{tmp_path}/new/mlflow.db")
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_there_is_read(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client_of(uri)
    client_of(uri, create=False)


C_LOCALE = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("encoding", [{}, {"PYTHONIOENCODING": "latin-1"}])
def test_a_locale_without_utf8_reads_and_prints_names_all_the_same(
    encoding: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "Münster 東京"
    folder.mkdir()
    (folder / "Zürich.svs").write_text("a")
    (folder / "b.svs").write_text("b")
    table = folder / "cohort.csv"
    table.write_text(
        "image,patient,site,label\nZürich.svs,p1,Zürich,low\nb.svs,p2,Köln,high\n", encoding="utf-8"
    )
    code, said, errors = _in_c_locale(encoding, "cohort", "check", table, "--no-pictures")
    assert code == 0, errors
    assert "Zürich" in said
    assert "Traceback" not in errors


def _in_c_locale(encoding: dict[str, str], *words: object) -> tuple[int, str, str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONIOENCODING"}
    done = subprocess.run(call(*words), capture_output=True, env=environment | C_LOCALE | encoding)
    return done.returncode, done.stdout.decode("utf-8"), done.stderr.decode("utf-8")


@pytest.mark.parametrize(
    "encoding", [pytest.param({}, marks=pytest.mark.slow), {"PYTHONIOENCODING": "latin-1"}]
)
def test_the_doctor_a_model_and_a_comparison_show_themselves_in_any_locale(
    encoding: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "Münster 東京"
    folder.mkdir()
    code, said, errors = _in_c_locale(encoding, "doctor", "--folder", folder)
    assert "Traceback" not in errors
    assert code in (0, 2, 3), errors
    assert "✓" in said

    package = small_package(folder / "Größe", name="Grad Größe 東")
    code, said, errors = _in_c_locale(encoding, "model", "info", package)
    assert (code, errors) == (0, "")
    assert "Grad Größe 東" in said

    job = Job.load(job_file(folder))
    run = write_run(job.run_folder(job.cell()), 2.0)
    table = pd.read_parquet(run / "predictions.parquet")
    table["site"] = table["site"].replace({"north": "Zürich", "south": "Kraków"})
    table.to_parquet(run / "predictions.parquet", index=False)
    RunFolder(run).finish(architecture={"name": "sc_mil"})
    code, said, errors = _in_c_locale(encoding, "compare", job.file)
    assert code == 0, errors
    assert "Traceback" not in errors
    assert str(job.output / "comparison.csv") in said
    assert "Kraków" in (job.output / "comparison.html").read_text(encoding="utf-8")
