"""The scripts' shared modules can be imported; a small synthetic cohort of photographs."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from offsite.preprocessing.cohort.table import load_cohort
from offsite.preprocessing.fundus.cohort import prepare_cohort
from offsite.preprocessing.fundus.photograph import FundusSettings
from offsite.preprocessing.synthetic.fundus.cohort import (
    SyntheticFundusSettings,
    make_fundus_cohort,
)
from offsite.preprocessing.synthetic.fundus.sites import CLINICS, GRADES

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    root = tmp_path_factory.mktemp("fundus")
    settings = SyntheticFundusSettings(
        clinics=CLINICS[:2],
        patients_per_site=20,
        eyes=(1, 1),
        px=64,
        graders=False,
        prevalence=False,
    )
    cohort = load_cohort(make_fundus_cohort(root, settings, workers=1), GRADES)
    prepare_cohort(cohort, root / "prepared", FundusSettings(px=32), workers=1)
    return SimpleNamespace(cohort=cohort, folder=root / "prepared")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
