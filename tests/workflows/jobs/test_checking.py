"""A job that cannot be done to its end is refused before anything is computed, everything at once."""

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from offsite.errors import InputError, InputErrors
from offsite.pathology import checking as pathology_checking
from offsite.retina import checking as retina_checking
from offsite.workflows.cli import app
from offsite.workflows.jobs import checking
from offsite.workflows.jobs.checking import CHECKS, check_job
from offsite.workflows.jobs.job import Job
from offsite.workflows.jobs.modalities import OWN

DOCS = Path(__file__).parents[3] / "docs" / "workflow.md"


def job_file(folder: Path, task: str = "retina", **settings: Any) -> Path:
    """A job of three sites with files that are no images: nothing here opens one."""
    suffix = settings.pop("suffix", ".png")
    rows = []
    for number in range(36):
        name = f"image-{number}{suffix}"
        (folder / name).touch()
        site = ("north", "east", "south")[number % 3]
        rows.append((name, f"p{number}", site, ("low", "high")[number // 3 % 2]))
    table = pd.DataFrame(rows, columns=["image", "patient", "site", "label"])
    table = settings.pop("change", lambda same: same)(table)
    table.to_csv(folder / "cohort.csv", index=False)
    values = {
        "task": task, "cohort": "cohort.csv", "classes": ["low", "high"],
        "splits": {"held_out_sites": ["south"]},
    }  # fmt: skip
    (folder / "job.yaml").write_text(yaml.safe_dump(values | settings))
    return folder / "job.yaml"


def faults(file: Path) -> dict[str, str]:
    """What a job is refused for, by code."""
    with pytest.raises(InputErrors) as caught:
        check_job(Job.load(file))
    return {fault.code: str(fault) for fault in caught.value.faults}


def test_a_sound_job_passes_and_nothing_is_written(tmp_path: Path) -> None:
    for task in ("retina", "pathology"):
        (tmp_path / task).mkdir()
        file = job_file(tmp_path / task, task, suffix={"retina": ".png"}.get(task, ".svs"))
        before = sorted(tmp_path.rglob("*"))
        check_job(Job.load(file))
        done = CliRunner().invoke(app, ["config", "check", str(file)])
        assert done.exit_code == 0, done.output
        assert "without-south/seed-0" in done.stdout
        assert sorted(tmp_path.rglob("*")) == before


BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "a held-out site that is not there": (
        {"splits": {"held_out_sites": ["nowhere"]}}, "unusable_input", "nowhere is not in the cohort",
    ),
    "a class that no training site has": (
        {"change": lambda table: table.assign(label="low")},
        "unusable_input", "no training image of class high",
    ),
    "a class that one division of several lacks": (
        {"change": lambda table: table.assign(
            label=table["label"].where(table["site"] == "east", "low")),
         "cells": {"protocol": "leave_one_site_out"}},
        "unusable_input", "held out: east",
    ),
    "no cohort": ({"cohort": "none.csv"}, "no_table", "no such table"),
    "two sites with one key": (
        {"change": lambda table: table.replace({"site": {"north": "Hôp A", "east": "Hop-A"}})},
        "name_collision", "both become 'hop_a'",
    ),
    "a task of the evaluation with an unknown class": (
        {"evaluation": {"metrics": {"tasks": {"worst": {"positive_classes": ["worse"]}}}}},
        "unknown_class", "names worse",
    ),
    "groups by a column that the cohort lacks": (
        {"change": lambda table: table.assign(age_band="40-59"), "evaluation": {"by": ["age_bnd"]}},
        "unknown_column", "Did you mean age_band?",
    ),
    "groups by a column of many values": (
        {"change": lambda table: table.assign(weight=[50 + row for row in range(36)]),
         "cells": {"protocol": "single_source"}, "evaluation": {"by": ["weight"]}},
        "too_many_groups", "bands",
    ),
    "a store with options": (
        {"tracking": {"uri": "sqlite:///a.db?timeout=30"}}, "tracking_uri", "options after a '?'",
    ),
    "weights that are not there": (
        {"training": {"backbone": {"weights": "none.pth"}}}, "encoder_weights", "none.pth",
    ),
    "an output that is a file": ({"output": "cohort.csv/results"}, "folder_in_use", "in its way"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_would_stop_a_job_later_is_said_at_once(name: str, tmp_path: Path) -> None:
    settings, code, words = BAD[name]
    said = faults(job_file(tmp_path, **settings))
    assert words in said[code]


def test_an_encoder_without_weights_is_refused_unless_the_features_are_there(
    tmp_path: Path,
) -> None:
    file = job_file(tmp_path, "pathology", suffix=".svs", encoder={"name": "resnet18"})
    assert "needs weights" in faults(file)["encoder_weights"]
    features = tmp_path / "output" / "features"
    features.mkdir(parents=True)
    for number in range(36):
        (features / f"image-{number}.h5").touch()
    check_job(Job.load(file))


def test_packages_that_are_not_installed_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for room in (pathology_checking, retina_checking, checking):
        monkeypatch.setattr(room, "find_spec", lambda name: None)
    assert "pip install pydicom" in faults(job_file(tmp_path, suffix=".dcm"))["missing_package"]
    encoder = {"name": "uni", "download": True}
    slides = job_file(tmp_path, "pathology", suffix=".svs", encoder=encoder)
    said = faults(slides)["missing_package"]
    assert "package timm" in said
    assert f"torch=={version('torch').partition('+')[0]}" in said


def test_a_table_that_mixes_kinds_names_its_rows(tmp_path: Path) -> None:
    def mixed(table: pd.DataFrame) -> pd.DataFrame:
        for number in (4, 9):
            (tmp_path / f"image-{number}.svs").touch()
            table.loc[number, "image"] = f"image-{number}.svs"
        return table

    with pytest.raises(InputErrors) as caught:
        check_job(Job.load(job_file(tmp_path, change=mixed)))
    assert {(fault.code, fault.row, fault.column) for fault in caught.value.faults} == {
        ("wrong_kind", 6, "image"),
        ("wrong_kind", 11, "image"),
    }
    assert ".svs is a format of slides, and the job reads photographs" in str(caught.value)
    assert "read from JPEG, PNG" in str(caught.value)


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr(checking.shutil, "disk_usage", lambda path: Usage)
    said = faults(job_file(tmp_path))["disk_full"]
    assert "the disk is full" in said
    assert "Make room" in said


def test_everything_is_said_at_once(tmp_path: Path) -> None:
    said = faults(
        job_file(
            tmp_path,
            tracking={"uri": "ftp://server"},
            training={"backbone": {"weights": "none.pth"}},
            splits={"held_out_sites": ["nowhere"]},
        )
    )
    assert set(said) == {"unusable_input", "tracking_uri", "encoder_weights"}


@pytest.mark.parametrize(
    "words",
    ["workflow check", "workflow prepare", "train", "compare", "workflow track", "model register"],
)
def test_every_stage_asks_first(words: str, tmp_path: Path) -> None:
    file = job_file(tmp_path, splits={"held_out_sites": ["nowhere"]})
    before = sorted(tmp_path.rglob("*"))
    done = CliRunner().invoke(app, [*words.split(), str(file)])
    assert isinstance(done.exception, InputError), done.output
    assert "nowhere is not in the cohort" in str(done.exception)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_docs_list_what_is_looked_at() -> None:
    text = DOCS.read_text(encoding="utf-8")
    table = text[text.index("## What is looked at first") :].split("\n## ")[0]
    listed = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    of_modalities = [name for modality in OWN.values() for name in modality.checks]
    assert listed == list(dict.fromkeys(["settings", "cohort", *CHECKS, *of_modalities]))
