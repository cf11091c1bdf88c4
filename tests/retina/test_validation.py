"""Cameras that differ from clinic to clinic show in how the trunk's features gather by site."""

import numpy as np
import pytest

from offsite.preprocessing.cohort.table import load_cohort
from offsite.preprocessing.fundus.cohort import prepare_cohort
from offsite.preprocessing.fundus.photograph import FundusSettings
from offsite.preprocessing.synthetic.fundus.cohort import (
    SyntheticFundusSettings,
    make_fundus_cohort,
)
from offsite.preprocessing.synthetic.fundus.sites import CLINICS, GRADES
from offsite.retina.validation import geometry_of_stages


@pytest.fixture(scope="module")
def collapse(tmp_path_factory):
    """Of colours alone, with one camera for all clinics and with one for each."""
    import cv2

    found = {}
    for style in (False, True):
        root = tmp_path_factory.mktemp("fundus")
        settings = SyntheticFundusSettings(
            clinics=CLINICS[:3], patients_per_site=12, eyes=(1, 1), px=64, graders=False,
            prevalence=False, style=style,
        )  # fmt: skip
        cohort = load_cohort(make_fundus_cohort(root, settings, workers=1), GRADES)
        table = prepare_cohort(cohort, root / "prepared", FundusSettings(px=32), workers=1)
        pictures = np.stack([cv2.imread(str(root / "prepared" / name)) for name in table["file"]])
        maps = pictures.transpose(0, 3, 1, 2).astype(np.float64)
        labels, sites = cohort.label_indices, table["site"].astype("category").cat.codes.to_numpy()
        found[style] = geometry_of_stages([maps.mean((2, 3))], labels, sites)
    return found


def test_site_collapse_tells_a_cohort_of_many_cameras_from_one_of_a_single_camera(collapse):
    clean, confounded = (collapse[style]["site_collapse_stage_0"] for style in (False, True))
    assert confounded < 0.5
    assert clean > 4 * confounded
