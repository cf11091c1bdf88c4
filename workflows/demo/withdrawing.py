"""The last step of both demos: what it takes to forget a patient, and one who is forgotten."""

from collections import Counter
from pathlib import Path

from offsite.errors import InputError
from offsite.preprocessing.synthetic.fundus.cohort import (
    SyntheticFundusSettings,
    make_fundus_cohort,
)
from offsite.preprocessing.synthetic.fundus.sites import CLINICS, GRADES
from offsite.workflows.console.messages import data, say
from offsite.workflows.demo.files import write_job
from offsite.workflows.jobs.forgotten import RECORD
from offsite.workflows.jobs.job import Job
from offsite.workflows.patients.forgetting import forget
from offsite.workflows.patients.found import LEFT, find, holdings
from offsite.workflows.stages import images
from offsite.workflows.stages.registration import package
from offsite.workflows.stages.training import train

COHORT = SyntheticFundusSettings(clinics=CLINICS[:3], patients_per_site=14, px=72, graders=False)
PATIENT = f"{CLINICS[0].name}-0000"


def show_holdings(config: Path) -> None:
    """Count what holds the first patient of the demo's cohort; nothing is changed."""
    job = Job.load(config)
    patient = str(job.cohort.table["patient"].iloc[0])
    lines = list(holdings(job, find(job, patient)))
    counts = Counter(held.what.split(",")[0] for held in lines)
    said = ", ".join(f"{what} {n}" for what, n in counts.items())
    data.print(f"{patient} is held in {len(lines)} places: {said}", soft_wrap=True)
    say(f"withdrawal  offsite patient forget {config} {patient}")


def forget_one(folder: Path) -> None:
    """Do a small job of its own, let one of its patients withdraw, and say what became of it.

    The demo's own job keeps its patients: what was shown of it before stays true.
    """
    say("[bold]forget[/bold]    a patient of a small job of its own")
    config = folder / "withdrawal.yaml"
    if not (folder / "results" / RECORD).is_file():
        _small_job(folder, config)
    job = Job.load(config)
    before = list(holdings(job, find(job, PATIENT)))
    try:
        done = forget(job, PATIENT)
    except InputError as error:
        if error.code != "forgotten_already":
            raise
        say(f"{PATIENT} was forgotten when the demo was run before")
        return
    kept = [held for held in done.left if held.what != "original"]
    data.print(
        f"{PATIENT} withdrew: {len(before)} things held the patient. After `offsite patient forget`"
        f" {len(kept)} of them do beside {len(done.left) - len(kept)} original photographs, which are"
        f" the clinic's; {sum(each.then != LEFT for each in before)} were removed or made again,"
        f" {len(done.runs)} run of them",
        soft_wrap=True,
    )


def _small_job(folder: Path, config: Path) -> None:
    make_fundus_cohort(folder / "cohort", COHORT)
    settings = {
        "task": "retina",
        "title": "Synthetic diabetic retinopathy (withdrawal)",
        "cohort": "cohort/cohort.csv",
        "classes": list(GRADES),
        "output": "results",
        "splits": {"held_out_sites": [CLINICS[2].name], "val": 0.3, "test": 0.2},
        "decision": {"ordinal": True},
        "preparation": {"px": 64},
        "training": {"method": "linear", "backbone": {"stages": "last"}, "linear": {"copies": 1}},
        "evaluation": {
            "metrics": {"resamples": 100, "calibration_simulations": 50},
            "parts": ["operating_points"],
        },
        "cells": {"shards": 1},
    }
    job = Job.load(write_job(config, settings))
    images.run(job, "prepare")
    for cell in job.cells():
        package(train(job, cell))
