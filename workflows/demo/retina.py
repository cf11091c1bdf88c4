"""The retina demo: synthetic fundus photographs of several clinics, one of them never trained on."""

from pathlib import Path

import pandas as pd

from offsite.preprocessing.synthetic.fundus.cohort import (
    SyntheticFundusSettings,
    make_fundus_cohort,
)
from offsite.preprocessing.synthetic.fundus.sites import (
    CLINICS,
    GRADES,
    CameraProfile,
    ClinicProfile,
)
from offsite.workflows.console.messages import say
from offsite.workflows.demo.files import write_job, write_table
from offsite.written import write_own

HELD_OUT = CLINICS[-1].name
# Small photographs, so that the whole job is done in minutes on two cores.
COHORT = SyntheticFundusSettings(patients_per_site=100, px=96, graders=False)
NEW_CASES = COHORT.model_copy(update={"patients_per_site": 2, "eyes": (1, 1), "seed": 1})
STRANGE = ClinicProfile(
    name="foxglove",
    camera=CameraProfile(
        tint=(0.55, 1.0, 1.5),
        saturation=0.35,
        gamma=1.7,
        contrast=0.6,
        haze=0.35,
        blur=9.0,
        noise=0.05,
        vignette=0.6,
        jpeg_quality=60,
    ),
)
"""A sixth clinic, whose camera is unlike all others: a model should not answer for it."""
STRANGE_CASES = NEW_CASES.model_copy(
    update={"patients_per_site": 5, "seed": 2, "clinics": (STRANGE,)}
)
LOCAL_PATIENTS, STRANGE_PATIENTS, JOINING_PATIENTS = 50, 20, 60


def write_demo(folder: Path) -> Path:
    """Make cohort and configuration; return the configuration's path."""
    say("[bold]cohort[/bold]    SYNTHETIC photographs; no patient stands behind them")
    make_fundus_cohort(folder / "cohort", COHORT)
    configuration = {
        "task": "retina",
        "title": "Synthetic diabetic retinopathy (demo)",
        "cohort": "cohort/cohort.csv",
        "classes": list(GRADES),
        "output": "results",
        "splits": {"held_out_sites": [HELD_OUT], "val": 0.2, "test": 0.3},
        "decision": {
            "name": "referable",
            "positive_classes": list(GRADES[2:]),
            "urgent_classes": list(GRADES[3:]),
            "ordinal": True,
        },
        "preparation": {"px": 96},
        "training": {"method": "linear"},
        "tracking": {"experiment": "demo retina", "model": "demo-photographs"},
        "cells": {"shards": 1},
    }
    return write_job(folder / "retina.yaml", configuration)


def write_new_cases(folder: Path) -> Path:
    """Make photographs that no one has graded, one file of them no picture at all; return their table."""
    table = pd.read_csv(make_fundus_cohort(folder / "new-cases", NEW_CASES))
    strange = pd.read_csv(make_fundus_cohort(folder / "new-cases" / STRANGE.name, STRANGE_CASES))
    strange["image"] = f"{STRANGE.name}/" + strange["image"]
    table = pd.concat([table, strange])[["image", "patient", "site", "eye"]]
    write_own(folder / "new-cases" / "images" / "not-a-photograph.jpg", "This is a text file.\n")
    bad = {"image": "images/not-a-photograph.jpg", "patient": "nobody", "site": HELD_OUT}
    table = pd.concat([table, pd.DataFrame([bad])]).fillna("")
    return write_table(folder / "new-cases" / "new-cases.csv", table)


def write_strange_cases(folder: Path) -> Path:
    """Make more photographs of the clinic whose camera is unlike all others; return their table."""
    more = STRANGE_CASES.model_copy(update={"patients_per_site": STRANGE_PATIENTS, "seed": 3})
    return make_fundus_cohort(folder / "strange", more)


def write_joining_cases(folder: Path) -> Path:
    """Make labelled photographs of that clinic by further patients, to sum up; return their table."""
    more = STRANGE_CASES.model_copy(update={"patients_per_site": JOINING_PATIENTS, "seed": 4})
    return make_fundus_cohort(folder / "joining", more)


def write_local_cases(folder: Path) -> tuple[Path, Path]:
    """Part the held-out clinic's cases in two tables by patients: to refit with, and to judge by."""
    table = pd.read_csv(folder / "cohort" / "cohort.csv", dtype=str, keep_default_na=False)
    here = table[table["site"] == HELD_OUT]
    patients = sorted(here["patient"].unique())[:LOCAL_PATIENTS]
    local = here["patient"].isin(patients)
    return (
        write_table(folder / "cohort" / "local.csv", here[local]),
        write_table(folder / "cohort" / "others.csv", here[~local]),
    )
