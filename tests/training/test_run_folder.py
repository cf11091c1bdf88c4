"""A run folder knows its inputs: finished stays finished, stale begins anew, nothing else goes."""

from pathlib import Path

import pytest

from offsite.errors import InputError
from offsite.training.run_folder import RunFolder, versions


def test_a_finished_run_of_the_same_inputs_has_nothing_to_do(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    assert run.begin({"seed": 1})
    run.finish(epochs=3)
    assert not RunFolder(tmp_path / "run").begin({"seed": 1})
    record = run.record()
    assert record is not None
    assert (record["status"], record["facts"], record["versions"]["python"]) == (
        "done", {"epochs": 3}, versions()["python"],
    )  # fmt: skip


def test_a_killed_run_goes_on_and_keeps_its_files(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.begin({"seed": 1})
    (tmp_path / "checkpoint").mkdir()
    assert RunFolder(tmp_path).begin({"seed": 1})
    assert (tmp_path / "checkpoint").is_dir()


def test_other_inputs_clear_the_stale_run_only(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.begin({"seed": 1})
    (tmp_path / "weights.safetensors").touch()
    (tmp_path / "notes.txt").write_text("mine")
    assert run.begin({"seed": 2})
    assert not (tmp_path / "weights.safetensors").exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_folder_of_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.docx").touch()
    with pytest.raises(InputError, match=r"thesis\.docx"):
        RunFolder(tmp_path).begin({"seed": 1})


@pytest.mark.parametrize("change", [b"changed", None])
def test_a_damaged_result_is_named_and_asks_for_work(tmp_path: Path, change: bytes | None) -> None:
    run = RunFolder(tmp_path)
    run.begin({"seed": 1})
    for name in ("weights.safetensors", "predictions.parquet"):
        (tmp_path / name).write_bytes(b"written")
    run.finish()
    assert run.damaged() is None
    if change is None:
        (tmp_path / "predictions.parquet").unlink()
    else:
        (tmp_path / "predictions.parquet").write_bytes(change)
    assert run.damaged() == "predictions.parquet"
    assert run.begin({"seed": 1})
    assert (tmp_path / "weights.safetensors").read_bytes() == b"written"


def test_finishing_a_run_that_never_began_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="never began"):
        RunFolder(tmp_path).finish()
