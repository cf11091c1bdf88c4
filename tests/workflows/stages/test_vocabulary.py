"""``offsite encoder vocabulary`` on a trained run: the sheet, the shares, and what is refused."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from safetensors.numpy import load_file
from typer.testing import CliRunner

from offsite.files import read_json
from offsite.pathology.vocabulary.words import TELLING
from offsite.training.encoders import VOCABULARY, VOCABULARY_FILES
from offsite.training.held_files import HeldFile
from offsite.workflows.cli import app
from offsite.workflows.jobs.job import Job
from offsite.workflows.package.making import RunWords
from offsite.workflows.stages.training import train
from offsite.workflows.stages.vocabulary import write_vocabulary
from offsite.workflows.stages.words_of_run import folder_of_words, words_of_run
from offsite.written import strike, write_own_json
from tests.workflows.conftest import SlideRun
from tests.workflows.patients.test_forgetting import HOLDER
from tests.workflows.stages.test_groups_of_a_job import job_file


@pytest.fixture(scope="module")
def job(slide_run: SlideRun, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A job of few slides whose one run is trained."""
    folder, made = tmp_path_factory.mktemp("words"), slide_run.cohort.parents[1]
    for name in ("cohort", "tiles", "features"):
        shutil.copytree(made / name, folder / name, copy_function=os.link)
    for table in made.glob("*.csv"):
        shutil.copy(table, folder)
    job = Job.load(job_file(folder, "pathology", []), ["training.method=cross_entropy"])
    train(job, job.cells()[0])
    return job


def test_a_sheet_and_the_shares_of_every_slide_and_all_of_it_can_be_forgotten(job: Job) -> None:
    # So few slides and epochs make no answers that words explain: here any share of them will do.
    path, found = write_vocabulary(job.run_folder(job.cells()[0]), 6, least=-np.inf)
    assert path.parent.is_relative_to(job.output / VOCABULARY)
    table, examples = pd.read_csv(path), pd.read_csv(path.parent / "examples.csv")
    places = load_file(path.parent / "words.safetensors")["places"]
    assert len(places) == 6
    shares = table.filter(regex="^share_")
    assert shares.shape == (15, 6)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert set(table["called"]) <= set(job.configuration.classes)
    falls = table.filter(regex="^fall_").to_numpy()
    assert np.isnan(falls[shares.to_numpy() == 0]).all()
    facts = read_json(path.parent / "vocabulary.json")
    assert facts["kept"] == found.kept
    assert facts["judged"] == (table["split"] != "train").sum()
    sheet = cv2.imread(str(path.parent / "words.png"))
    for word, count in examples.groupby("word").size().items():
        row = sheet[(word - 1) * 100 + 4 :][:96, 104:]
        tiles = [row[:, 100 * place :][:, :96] for place in range(9)]
        assert sum(bool((tile != 255).any()) for tile in tiles) == count
    of_run = pd.read_parquet(job.run_folder(job.cells()[0]) / "predictions.parquet")
    assert sorted(table["image"]) == sorted(of_run["image"])  # a row for each: columns of it
    as_written = path.read_text()

    def words_held() -> list[HeldFile]:
        held = job.modality.held_files(job, [str(table["slide"][0])])
        return [file for file in held if file.what == "tissue words"]

    path.write_text(
        as_written.replace(",", ";")
    )  # saved by a spreadsheet: whose it is, is not known
    assert {file.path.name for file in words_held() if file.remove is None} == {"words.csv"}
    assert len(words_held()) == len(VOCABULARY_FILES)
    path.write_text(as_written)
    of_words = words_held()
    assert {file.path.name for file in of_words} == set(VOCABULARY_FILES)
    for file in of_words:
        file.remove()
    assert not any(file.is_file() for file in path.parent.glob("[!.]*"))


def test_words_are_named_by_a_table_and_go_with_a_package_while_they_are_of_the_run(
    job: Job, tmp_path: Path
) -> None:
    run, table = job.run_folder(job.cells()[0]), tmp_path / "names.csv"
    table.write_text("word,name\n1,glands\n")
    early = called(str(run), "--names", str(table))
    assert early.exit_code != 0
    assert "no words were found of this run yet" in str(early.exception)
    assert words_of_run(run) == RunWords()
    path, found = write_vocabulary(run, 4, least=-np.inf)
    facts = path.parent / "vocabulary.json"
    if found.kept < 0.5:
        assert "answers are not told in them" in words_of_run(run).missing
        write_own_json(facts, read_json(facts) | {"kept": 0.6})
    for text, fault in (
        ("word,name\n5,a\n", "row 2.*'5' is no word of this run.*1 to 4"),
        ("word,name\n1,a\n2,a\n", "row 3.*another word has this name"),
        ("word,name\n1,a\n1,b\n", "row 3.*word 1 is named twice"),
        (f"word,name\n1,{'a' * 61}\n", "row 2.*too long"),
        ("number,label\n1,a\n", "missing columns word, name"),
    ):
        table.write_text(text)
        before = facts.read_bytes()
        told = called(str(run), "--names", str(table))
        assert told.exit_code != 0
        assert re.search(fault, str(told.exception).replace("\n", " ")), str(told.exception)
        assert facts.read_bytes() == before
    table.write_text("Word;Name\n3;fat\n1; glands \n")
    assert called(str(run), "--names", str(table)).exit_code == 0
    words = words_of_run(run)
    assert words.told is not None
    assert words.told.names == ("glands", "", "fat", "")
    assert set(words.arrays) == set(TELLING)  # what is no picture, and no mean of tiles either
    write_vocabulary(run, 4, least=-np.inf)  # the same words: their names stay
    assert read_json(facts)["names"] == ["glands", "", "fat", ""]
    write_vocabulary(run, 3, least=-np.inf)
    assert read_json(facts)["names"] == ["", "", ""]
    write_own_json(facts, read_json(facts) | {"run": "0" * 64, "kept": 0.6})
    assert "another training" in words_of_run(run).missing
    for name in VOCABULARY_FILES:
        strike(path.parent / name)


@pytest.mark.parametrize("name", VOCABULARY_FILES)
def test_what_stands_where_words_would_go_stays(job: Job, name: str) -> None:
    run = job.run_folder(job.cells()[0])
    theirs = folder_of_words(run) / name
    theirs.parent.mkdir(parents=True, exist_ok=True)
    theirs.write_text("a year's work")
    (theirs.parent / "names.csv").write_text("word,name\n1,glands\n")
    for more in ([], ["--names", str(theirs.parent / "names.csv")]):
        told = called(str(run), "--workers", "1", *more)
        assert told.exit_code != 0
        assert theirs.read_text() == "a year's work"
        assert {path.name for path in theirs.parent.glob("[!.]*")} == {name, "names.csv"}
    theirs.unlink()
    (theirs.parent / "names.csv").unlink()


def test_words_that_keep_too_little_are_refused_and_nothing_is_written(job: Job) -> None:
    told = called(str(job.run_folder(job.cells()[0])), "--words", "1", "--workers", "1")
    assert told.exit_code != 0
    assert "words do not explain this model" in str(told.exception or told.output)
    assert not list((job.output / VOCABULARY).rglob("*.csv"))


def called(*words: str) -> Result:
    return CliRunner().invoke(app, ["encoder", "vocabulary", *words])


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    told = called(str(tmp_path))
    assert told.exit_code != 0
    assert "not a run folder" in str(told.exception or told.output)


def test_no_words_are_told_of_a_run_while_somebody_writes_to_it(job: Job) -> None:
    run = str(job.run_folder(job.cells()[0]))
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, run],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    told = called(run, "--workers", "1")
    holder.communicate("\n")
    assert told.exit_code != 0
    assert "another run is writing" in str(told.exception or told.output)
    assert not list((job.output / VOCABULARY).rglob("*.csv"))
