"""The workflow: written as the community writes it, done once, redone where something changed."""

import base64
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from offsite.workflows.jobs.job import Job
from offsite.workflows.pipeline.inputs import before, braced, settings_of
from offsite.workflows.pipeline.running import command
from tests.workflows.job_files import small_job, write_job

PIPELINE = Path(__file__).parents[3] / "workflows" / "pipeline"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def workflow(config: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "offsite", "workflow", "run", str(config), "--cores", "2", *more],
        capture_output=True, text=True, env=ENVIRONMENT,
    )  # fmt: skip


def jobs_of(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """The jobs that a dry run counts, by rule."""
    counts: dict[str, int] = {}
    for line in done.stdout.splitlines() + done.stderr.splitlines():
        words = line.split()
        if len(words) == 2 and words[1].isdigit() and words[0] != "total":
            counts[words[0]] = int(words[1])
    return counts


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workflow")
    small_job(folder)
    config = write_job(
        folder, cells={"shards": 2, "methods": ["sc_mil", "cross_entropy"]},
        training={"batch_size": 4, "instances": 16, "fit": {"epochs": 2}},
    )  # fmt: skip
    done = workflow(config)
    assert done.returncode == 0, done.stderr[-3000:]
    return config


def test_the_workflow_does_the_whole_job(finished: Path) -> None:
    job = Job.load(finished)
    registered = (job.output / "workflow" / "registered.txt").read_text()
    assert registered == "models:/offsite/1\n"
    for cell in job.cells():
        assert (job.run_folder(cell) / "evaluation" / "report.html").is_file()
    assert len(pd.read_csv(job.output / "tiles.csv")) == len(job.cohort.table)
    assert (job.output / "comparison.csv").is_file()


def test_a_second_run_has_nothing_to_do(finished: Path) -> None:
    done = workflow(finished)
    assert done.returncode == 0
    assert "Nothing to be done" in done.stderr + done.stdout


def test_a_changed_slide_redoes_its_chain_alone(finished: Path) -> None:
    slides = Job.load(finished).cohort.image_paths()
    kept = slides[0].read_bytes()
    try:
        slides[0].write_bytes(slides[2].read_bytes())
        counts = jobs_of(workflow(finished, "--dry-run"))
    finally:
        slides[0].write_bytes(kept)
    assert counts["images"] == 2  # one shard of two, tiled and embedded
    assert counts["train"] == 2


@pytest.mark.slow
def test_a_changed_setting_redoes_what_it_concerns_alone(finished: Path) -> None:
    text = finished.read_text()
    try:
        finished.write_text(text.replace("resamples: 100", "resamples: 120"))
        counts = jobs_of(workflow(finished, "--dry-run"))
    finally:
        finished.write_text(text)
    assert counts["evaluate"] == 2
    assert "train" not in counts
    assert "images" not in counts


@pytest.mark.slow
def test_a_stage_that_failed_is_done_again_though_its_old_results_are_there(
    finished: Path,
) -> None:
    job = Job.load(finished)
    marker = job.output / "workflow" / "trained" / f"{job.cells()[0].name}.done"
    made = marker.stat().st_mtime
    marker.unlink()  # so Snakemake leaves a job that failed
    try:
        counts = jobs_of(workflow(finished, "--dry-run"))
    finally:
        marker.touch()
        os.utime(marker, (made, made))
    assert counts["train"] == 1
    assert counts["evaluate"] == 1
    assert counts["register"] == 1


def test_a_faulty_cohort_is_told_before_anything_runs(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished.parent / "cohort", tmp_path / "cohort", copy_function=os.link)
    table = tmp_path / "cohort" / "cohort.csv"
    text = table.read_text()
    table.unlink()
    table.write_text(text.replace("normal", "nromal", 1))
    config = tmp_path / "job.yaml"
    shutil.copy2(finished, config)
    done = workflow(config)
    assert done.returncode == 2
    assert "'nromal' is not a class" in done.stderr


def test_the_page_of_the_workflow_holds_the_report_of_each_run(
    finished: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    call = ["workflow", "report", str(finished), "-o", str(page)]
    subprocess.run([sys.executable, "-m", "offsite", *call], check=True, env=ENVIRONMENT)
    text, job = page.read_text(), Job.load(finished)
    assert "Results by site" in text
    for cell in job.cells():
        report = (job.run_folder(cell) / "evaluation" / "report.html").read_bytes()
        assert base64.b64encode(report).decode() in text
        assert f'"run": "{cell.name}"' in text


def test_snakemake_finds_no_fault(finished: Path) -> None:
    job = Job.load(finished)
    done = subprocess.run(
        command(job, "default", 1, ["--lint"]), capture_output=True, text=True, env=ENVIRONMENT
    )
    assert "in a good condition" in done.stdout + done.stderr


def test_the_rules_are_formatted() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("snakefmt")), "--check", str(PIPELINE)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_shard_waits_for_its_images_and_then_for_itself(finished: Path) -> None:
    job = Job.load(finished)
    images = before(job, "tile", 2)
    assert images[0] == str(job.cohort.path)
    assert images[1:] == [str(path) for path in job.cohort.image_paths()[1::2]]
    assert before(job, "embed", 2) == ["workflow/tile-2.done"]


def test_names_with_braces_are_no_wildcards(finished: Path, tmp_path: Path) -> None:
    job = Job.load(finished)
    assert braced(job, 1) == braced(job, 2) == ""
    folder = tmp_path / "{A12} export"
    shutil.copytree(finished.parent / "cohort", folder / "cohort", copy_function=os.link)
    config = write_job(folder)
    job = Job.load(config)
    assert before(job, "tile", 1) == []
    first, other = braced(job, 1), braced(job, 2)
    assert len({"", first, other}) == 3
    os.utime(job.cohort.image_paths()[0], (1, 1))
    assert (braced(job, 1) != first, braced(job, 2) == other) == (True, True)
    done = workflow(config, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert jobs_of(done)["images"] == 4


def test_settings_concern_their_stage_alone(finished: Path) -> None:
    job, other = Job.load(finished), Job.load(finished, ["evaluation.metrics.resamples=200"])
    assert settings_of(job, "evaluate") != settings_of(other, "evaluate")
    assert settings_of(job, "train") == settings_of(other, "train")
    grouped = Job.load(finished, ["evaluation.by=[scanner]"])  # training keeps the column
    assert settings_of(job, "train") != settings_of(grouped, "train")
