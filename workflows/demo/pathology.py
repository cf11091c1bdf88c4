"""The pathology demo: synthetic slides of five hospitals, one of them never trained on."""

from pathlib import Path

import pandas as pd

from offsite.preprocessing.synthetic.slides.biology import CLASSES
from offsite.preprocessing.synthetic.slides.cohort import SyntheticSlideSettings, make_slide_cohort
from offsite.workflows.console.messages import say
from offsite.workflows.demo.files import write_job, write_table
from offsite.written import write_own

HELD_OUT = "elm"
# Small pieces of tissue, of which a small part shows the class: minutes of work, and neither
# perfect nor hopeless at the unseen site.
COHORT = SyntheticSlideSettings(
    patients=160,
    slides_per_patient=(1, 2),
    width_um=800,
    height_um=720,
    lesion_share=(0.06, 0.16),
    class_shares=(0.44, 0.34, 0.22),
)
NEW_CASES = COHORT.model_copy(update={"patients": 10, "slides_per_patient": (1, 1), "seed": 1})
TILE_PX = 128


def write_demo(folder: Path) -> Path:
    """Make cohort, new cases and configuration; return the configuration's path."""
    say("[bold]cohort[/bold]    SYNTHETIC slides of five sites; no patient stands behind them")
    make_slide_cohort(folder / "cohort", COHORT)
    configuration = {
        "task": "pathology",
        "title": "Synthetic tissue grade (demo)",
        "cohort": "cohort/cohort.csv",
        "classes": list(CLASSES),
        "output": "results",
        "splits": {"held_out_sites": [HELD_OUT], "val": 0.2, "test": 0.45},
        "tiles": {"tile_px": TILE_PX},
        "encoder": {"tile_px": TILE_PX},
        "tracking": {"experiment": "demo pathology", "model": "demo-slides"},
        "cells": {"shards": 2},
    }
    return write_job(folder / "pathology.yaml", configuration)


def write_new_cases(folder: Path) -> Path:
    """Make slides that no one has labelled, two of them unusable; return their table."""
    table = pd.read_csv(make_slide_cohort(folder / "new-cases", NEW_CASES))
    slides = folder / "new-cases" / "slides"
    _spoil(slides)
    bad = [
        {"image": f"slides/{name}", "patient": name, "site": HELD_OUT, "slide": name}
        for name in ("cut-off.svs", "not-a-slide.svs")
    ]
    table = pd.concat([table.drop(columns="label"), pd.DataFrame(bad)]).fillna("")
    return write_table(folder / "new-cases" / "new-cases.csv", table)


def _spoil(slides: Path) -> None:
    """Add two files that must be refused with a reason, as real folders hold them."""
    write_own(slides / "not-a-slide.svs", "This is a text file with the suffix of a slide.\n")
    whole = next(iter(sorted(slides.glob("*.svs")))).read_bytes()
    write_own(slides / "cut-off.svs", whole[: len(whole) // 3])
