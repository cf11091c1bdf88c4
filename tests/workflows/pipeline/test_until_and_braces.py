"""Stages to stop after by their names, and names of files that Snakemake would take for its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from offsite.errors import InputError
from offsite.workflows.jobs.job import Job
from offsite.workflows.pipeline.running import _until_stage, on_device
from tests.workflows.jobs.test_checking import job_file


def test_a_stage_to_stop_after_is_one_of_the_job(tmp_path: Path) -> None:
    job = Job.load(job_file(tmp_path))
    assert _until_stage(job, ["--until", "prepare", "-n"]) == [
        "--until", "workflow/prepare.done", "-n",
    ]  # fmt: skip
    assert _until_stage(job, ["-U", "train", "evaluate"]) == ["-U", "train", "evaluate"]
    assert _until_stage(job, ["--until=prepare"]) == ["--until", "workflow/prepare.done"]
    assert _until_stage(job, ["--lint", "tile"]) == ["--lint", "tile"]
    for words in (["--until", "tile"], ["--until=images"], ["-U", "train", "prepared"]):
        with pytest.raises(InputError) as caught:
            _until_stage(job, words)
        assert caught.value.code == "unknown_stage"
        assert "prepare, train, evaluate, track, compare, register" in caught.value.remedy


def test_a_device_is_named_for_every_stage_that_has_one(tmp_path: Path) -> None:
    file = job_file(tmp_path, "pathology", suffix=".svs")
    assert on_device(file, ["a=b"], None) == ["a=b"]
    assert on_device(file, [], "cuda:1") == ["encoder.device=cuda:1", "training.fit.device=cuda:1"]


@pytest.mark.slow  # that such names are no wildcards is tested by a dry run in `test_workflow`
def test_braces_in_folder_and_image_names_go_through_the_workflow(tmp_path: Path) -> None:
    folder = tmp_path / "{site} a"
    folder.mkdir()
    file = job_file(folder, cells={"shards": 1})
    (folder / "image-0.png").rename(folder / "{A12}.png")
    table = (folder / "cohort.csv").read_text().replace("image-0.png", "{A12}.png")
    (folder / "cohort.csv").write_text(table)
    call = [sys.executable, "-m", "offsite", "workflow", "run", str(file), "--cores", "1"]
    done = subprocess.run(
        [*call, "--until", "prepare", "--set", "preparation={px: 32}"],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = (folder / "output" / "prepared" / "prepared.csv").read_text()
    assert "{A12}" in rows
