"""A small job on disk: a synthetic cohort of three sites and its configuration."""

from pathlib import Path
from typing import Any

import yaml

from preprocessing.synthetic.slides import SyntheticSlideSettings, make_slide_cohort
from preprocessing.synthetic.slides_biology import CLASSES
from preprocessing.synthetic.slides_sites import SITES

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
        "tiles": {"tile_px": 128, "min_tissue": 0.3}, "encoder": {"tile_px": 128},
        "training": {"batch_size": 4, "instances": 16,
                     "fit": {"epochs": 12, "checkpoint_every_seconds": 0}},
        "evaluation": {"metrics": {"resamples": 100, "calibration_simulations": 50}},
        "cells": {"shards": 2},
    }  # fmt: skip
    path.write_text(yaml.safe_dump(settings | more))
    return path
