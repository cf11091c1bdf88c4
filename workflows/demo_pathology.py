"""The pathology demo: synthetic slides of five hospitals, one of them never trained on."""

from pathlib import Path

import yaml

from preprocessing.files import write_text
from preprocessing.synthetic.slides import SyntheticSlideSettings, make_slide_cohort
from preprocessing.synthetic.slides_biology import CLASSES
from workflows.console import say

HELD_OUT = "elm"
PATIENTS = 150
NEW_PATIENTS = 10


def write_demo(folder: Path) -> Path:
    """Make cohort, new cases and configuration; return the configuration's path."""
    say("[bold]cohort[/bold]    SYNTHETIC slides of five sites; no patient stands behind them")
    make_slide_cohort(
        folder / "cohort", SyntheticSlideSettings(patients=PATIENTS, slides_per_patient=(1, 2))
    )
    make_slide_cohort(
        folder / "new-cases",
        SyntheticSlideSettings(patients=NEW_PATIENTS, slides_per_patient=(1, 1), seed=1),
    )
    _spoil(folder / "new-cases" / "slides")
    configuration = {
        "task": "pathology",
        "title": "Synthetic tissue grade (demo)",
        "cohort": "cohort/cohort.csv",
        "classes": list(CLASSES),
        "output": "results",
        "splits": {"held_out_sites": [HELD_OUT], "val": 0.2, "test": 0.45},
        "tracking": {"experiment": "demo pathology", "model": "demo-slides"},
    }
    path = folder / "pathology.yaml"
    write_text(path, yaml.safe_dump(configuration, sort_keys=False))
    return path


def _spoil(slides: Path) -> None:
    """Add two files that must be refused with a reason, as real folders hold them."""
    write_text(slides / "not-a-slide.svs", "This is a text file with the suffix of a slide.\n")
    whole = next(iter(sorted(slides.glob("*.svs")))).read_bytes()
    (slides / "cut-off.svs").write_bytes(whole[: len(whole) // 3])
