"""Small synthetic slides that the slide tests share."""

from pathlib import Path

import numpy as np
import pytest

from offsite.preprocessing.cohort.table import Cohort, load_cohort
from offsite.preprocessing.synthetic.slides.biology import grow
from offsite.preprocessing.synthetic.slides.cohort import SyntheticSlideSettings, make_slide_cohort
from offsite.preprocessing.synthetic.slides.rendering import render
from offsite.preprocessing.synthetic.slides.sites import SITES

SMALL = SyntheticSlideSettings(
    patients=10, slides_per_patient=(1, 1), width_um=448, height_um=416, artefacts=False
)


@pytest.fixture(scope="session")
def cohort_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort of ten small clean slides, two per site."""
    return make_slide_cohort(tmp_path_factory.mktemp("slides"), SMALL, workers=1)


@pytest.fixture(scope="session")
def cohort(cohort_file: Path) -> Cohort:
    return load_cohort(cohort_file)


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    """A small piece of tissue as pixels: 816 x 912 at 0.5 um per px."""
    biology = grow(3, "low_grade", width_um=456, height_um=408)
    return render(biology, SITES[0], seed=1, mpp=0.5)
