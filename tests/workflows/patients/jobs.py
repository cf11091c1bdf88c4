"""Small finished jobs of photographs and of slides, and what of their folders can be compared."""

from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from offsite.files import read_json
from offsite.preprocessing.fundus.grades import GRADES
from offsite.preprocessing.synthetic.fundus.cohort import (
    SyntheticFundusSettings,
    make_fundus_cohort,
)
from offsite.preprocessing.synthetic.fundus.sites import CLINICS
from offsite.preprocessing.synthetic.slides.biology import CLASSES
from offsite.preprocessing.synthetic.slides.cohort import SyntheticSlideSettings, make_slide_cohort
from offsite.preprocessing.synthetic.slides.sites import SITES
from offsite.training.run_folder import RESULTS
from offsite.workflows.jobs.job import Job
from offsite.workflows.stages import images, training
from offsite.workflows.stages.comparison import compare
from offsite.workflows.stages.evaluation import evaluate_run
from offsite.workflows.stages.registration import package, register

EVALUATION = {"metrics": {"resamples": 100, "calibration_simulations": 50},
              "parts": ["operating_points"]}  # fmt: skip


def photographs(folder: Path, methods: tuple[str, ...] = ("linear", "erm")) -> Path:
    """Make cohort and configuration of a job of photographs; return the configuration."""
    small = SyntheticFundusSettings(clinics=CLINICS[:3], patients_per_site=14, px=72, graders=False)
    make_fundus_cohort(folder / "cohort", small)
    return _write(folder, {
        "task": "retina", "classes": list(GRADES), "decision": {"ordinal": True},
        "splits": {"held_out_sites": [CLINICS[2].name], "val": 0.3, "test": 0.2},
        "preparation": {"px": 64}, "cells": {"methods": list(methods), "shards": 1},
        "training": {"method": methods[0], "backbone": {"stages": "last", "width": 8},
                     "linear": {"copies": 1}, "batch_size": 16, "fit": {"epochs": 1}},
    })  # fmt: skip


def slides(folder: Path) -> Path:
    """Make cohort and configuration of a job of slides; return the configuration."""
    small = SyntheticSlideSettings(
        sites=SITES[:3], patients=15, slides_per_patient=(1, 1), width_um=380, height_um=380,
        class_shares=(1, 1, 1), artefacts=False, tissue_share=0.7,
    )  # fmt: skip
    make_slide_cohort(folder / "cohort", small, workers=1)
    return _write(folder, {
        "task": "pathology", "classes": list(CLASSES),
        "splits": {"held_out_sites": [SITES[2].name], "val": 0.3, "test": 0.2},
        "tiles": {"tile_px": 128, "min_tissue": 0.3},
        "encoder": {"name": "structure_baseline", "tile_px": 128}, "cells": {"shards": 1},
        "training": {"method": "linear", "batch_size": 4, "instances": 16, "fit": {"epochs": 1}},
    })  # fmt: skip


def _write(folder: Path, settings: dict[str, object]) -> Path:
    whole = {"cohort": "cohort/cohort.csv", "output": "results", "evaluation": EVALUATION}
    (folder / "job.yaml").write_text(yaml.safe_dump(whole | settings))
    return folder / "job.yaml"


def do(config: Path, *, registered: bool = True) -> Job:
    """Do a job to its end."""
    job = Job.load(config)
    for stage in job.modality.stages:
        images.run(job, stage.name)
    for cell in job.cells():
        evaluate_run(training.train(job, cell))
    if len(job.cells()) > 1:
        compare(job)
    for cell in job.cells():
        package(job.run_folder(cell))
    if registered:
        tracking = job.configuration.tracking
        run = job.run_folder(job.cells()[0])
        register(run, tracking.model, job.tracking_uri, tracking.experiment)
    return job


def without(config: Path, patient: str) -> None:
    """Take a patient out of a job's table by hand."""
    table = config.parent / "cohort" / "cohort.csv"
    rows = pd.read_csv(table, dtype=str, keep_default_na=False)
    rows[rows["patient"] != patient].to_csv(table, index=False, lineterminator="\n")


def differences(one: Job, other: Job) -> list[str]:
    """The results of two jobs that are not the same to the byte, and those that one lacks."""
    names = ["prepared/prepared.csv", "tiles.csv", "features/features.csv", "comparison.csv"]
    for cell in one.cells():
        run = one.run_folder(cell).relative_to(one.output)
        results = [run / name for name in (*RESULTS, "fit.json")]
        made = [*results, run / "evaluation" / "per_site.csv", run / "evaluation" / "alarms.csv"]
        made += [run / "package" / name for name in ("reference.npz", "weights.safetensors")]
        names += [path.as_posix() for path in made]
    for folder in ("prepared/images", "tiles", "features"):
        both = [*(one.output / folder).glob("*"), *(other.output / folder).glob("*")]
        names += [f"{folder}/{path.name}" for path in both if not path.name.startswith(".")]
    found = []
    for name in dict.fromkeys(names):
        files = [job.output / name for job in (one, other)]
        there = [file.is_file() for file in files]
        if there[0] != there[1] or (all(there) and files[0].read_bytes() != files[1].read_bytes()):
            found.append(name)
    for cell in one.cells():
        keys = [read_json(job.run_folder(cell) / "run.json")["key"] for job in (one, other)]
        if keys[0] != keys[1]:
            found.append(f"the key of {cell.name}")
    return found


def features_by_picture(job: Job) -> dict[tuple[str, int], np.ndarray]:
    """What the trunk read of each picture and copy of a job of photographs."""
    import h5py

    (file,) = (job.output / "prepared" / "trunk").glob("*.h5")
    with h5py.File(file) as opened:
        keys = zip(opened["picture"].asstr()[:], opened["copy"][:], strict=True)
        return {(p, int(c)): row for (p, c), row in zip(keys, opened["features"][:], strict=True)}
