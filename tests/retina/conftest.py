"""A small synthetic cohort, prepared once for the room's tests."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from offsite.preprocessing.cohort.splits import SplitSettings, split_cohort
from offsite.preprocessing.cohort.table import Cohort, load_cohort
from offsite.preprocessing.fundus.cohort import prepare_cohort
from offsite.preprocessing.fundus.photograph import FundusSettings
from offsite.preprocessing.synthetic.fundus.cohort import (
    SyntheticFundusSettings,
    make_fundus_cohort,
)
from offsite.preprocessing.synthetic.fundus.sites import CLINICS, GRADES


@dataclass(frozen=True)
class PreparedCohort:
    cohort: Cohort
    folder: Path

    def split(self, *held_out: str) -> Cohort:
        return split_cohort(self.cohort, SplitSettings(held_out_sites=held_out, val=0.2, test=0.2))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedCohort:
    root = tmp_path_factory.mktemp("fundus")
    settings = SyntheticFundusSettings(
        clinics=CLINICS[:3], patients_per_site=20, eyes=(1, 1), px=64, graders=False,
        prevalence=False,
    )  # fmt: skip
    cohort = load_cohort(make_fundus_cohort(root, settings, workers=1), GRADES)
    prepare_cohort(cohort, root / "prepared", FundusSettings(px=32), workers=1)
    return PreparedCohort(cohort, root / "prepared")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
