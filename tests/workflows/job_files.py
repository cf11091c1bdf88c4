"""A small job on disk: a synthetic cohort of three sites and its configuration."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from safetensors.numpy import load_file

from offsite.preprocessing.synthetic.slides.biology import CLASSES
from offsite.preprocessing.synthetic.slides.cohort import SyntheticSlideSettings, make_slide_cohort
from offsite.preprocessing.synthetic.slides.sites import SITES
from offsite.workflows.jobs.job import Job

COHORT = SyntheticSlideSettings(
    sites=SITES[:3], patients=18, slides_per_patient=(1, 1), width_um=330, height_um=330,
    class_shares=(1, 1, 1), artefacts=False, tissue_share=0.7,
)  # fmt: skip


def small_job(folder: Path) -> Path:
    """Make the cohort and the configuration; return the configuration's path."""
    make_slide_cohort(folder / "cohort", COHORT, workers=2)
    return write_job(folder)


def write_job(folder: Path, **more: Any) -> Path:
    """Write the configuration of a job whose cohort stands in ``folder/cohort``."""
    path = folder / "job.yaml"
    settings: dict[str, Any] = {
        "task": "pathology", "cohort": "cohort/cohort.csv", "classes": list(CLASSES),
        "output": "results",
        "splits": {"held_out_sites": ["cedar"], "val": 0.3, "test": 0.3},
        "tiles": {"tile_px": 128, "min_tissue": 0.3}, "encoder": {"name": "structure_baseline", "tile_px": 128},
        "training": {"batch_size": 4, "instances": 16,
                     "fit": {"epochs": 12, "checkpoint_every_seconds": 0}},
        "evaluation": {"metrics": {"resamples": 100, "calibration_simulations": 50}},
        "cells": {"shards": 2},
    }  # fmt: skip
    path.write_text(yaml.safe_dump(settings | more))
    return path


def same_results(found: Path, wanted: Path) -> None:
    """Assert that two jobs ended in the same tables, features, weights and predictions.

    Training is the same to rounding: threads and a resumed epoch add in another order.
    """
    one, other = Job.load(found), Job.load(wanted)
    for table in ("tiles.csv", "features/features.csv"):
        left, right = (
            pd.read_csv(job.output / table, dtype=str, keep_default_na=False)
            for job in (one, other)
        )
        pd.testing.assert_frame_equal(
            left.drop(columns="image", errors="ignore"),
            right.drop(columns="image", errors="ignore"),
        )
    features = sorted((other.output / "features").glob("*.h5"))
    assert features
    for file in features:
        kept = one.output / "features" / file.name
        assert kept.read_bytes() == file.read_bytes(), file.name
    for cell in other.cells():
        run, reference = one.run_folder(cell), other.run_folder(cell)
        weights, expected = (load_file(at / "weights.safetensors") for at in (run, reference))
        assert weights.keys() == expected.keys()
        for name in expected:
            np.testing.assert_allclose(weights[name], expected[name], atol=1e-6, err_msg=name)
        for read, table in ((pd.read_parquet, "predictions.parquet"),
                            (pd.read_csv, "evaluation/per_site.csv")):  # fmt: skip
            pd.testing.assert_frame_equal(read(run / table), read(reference / table), atol=1e-6)
    assert (one.output / "workflow/registered.txt").read_text() == "models:/offsite/1\n"
