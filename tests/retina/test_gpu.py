"""The same job on a GPU, at a size where lesions show, in half precision."""

import json

import numpy as np
import pytest
import torch

from offsite.preprocessing.cohort.splits import SplitSettings, split_cohort
from offsite.preprocessing.cohort.table import load_cohort
from offsite.preprocessing.fundus.cohort import prepare_cohort
from offsite.preprocessing.fundus.photograph import FundusSettings
from offsite.preprocessing.synthetic.fundus.cohort import (
    SyntheticFundusSettings,
    make_fundus_cohort,
)
from offsite.preprocessing.synthetic.fundus.sites import CLINICS, GRADES
from offsite.retina.inference import grade, load_fundus_model
from offsite.retina.photographs.of_run import select_photographs
from offsite.retina.settings import RetinaSettings
from offsite.retina.training import train_retina

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device"),
]


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    root = tmp_path_factory.mktemp("large")
    made = SyntheticFundusSettings(
        clinics=CLINICS[:3], patients_per_site=12, eyes=(1, 1), px=512, graders=False,
        prevalence=False,
    )  # fmt: skip
    cohort = load_cohort(make_fundus_cohort(root, made, workers=2), GRADES)
    prepare_cohort(cohort, root / "prepared", FundusSettings(px=384), workers=2)
    shares = SplitSettings(held_out_sites=("corran",), val=0.2, test=0.2)
    return split_cohort(cohort, shares), root / "prepared"


@pytest.mark.parametrize("method", ["erm", "deco", "mixstyle"])
@pytest.mark.parametrize("frozen", [0, 3])
def test_half_precision_at_384_px_trains_and_answers_as_its_weights_do(
    large, tmp_path, method, frozen
):
    cohort, prepared = large
    settings = RetinaSettings.model_validate(
        {
            "method": method, "batch_size": 8,
            "backbone": {"name": "efficientnet-lite0", "frozen_stages": frozen,
                         "frozen_copies": 2, "frozen_norms": True},
            "fit": {"epochs": 2, "learning_rate": 3e-4, "device": "cuda", "precision": "bfloat16"},
        }
    )  # fmt: skip
    table = train_retina(cohort, prepared, settings, tmp_path / "run")
    again = train_retina(cohort, prepared, settings, tmp_path / "again")
    probabilities = table[[f"prob_{name}" for name in GRADES]].to_numpy()
    np.testing.assert_array_equal(again[[f"prob_{name}" for name in GRADES]], probabilities)
    losses = [json.loads(each)["losses"]["loss"] for each in (tmp_path / "run/curves.jsonl").open()]
    assert np.isfinite(losses).all()
    architecture = json.loads((tmp_path / "run/run.json").read_text())["facts"]["architecture"]
    network = load_fundus_model(tmp_path / "run/weights.safetensors", architecture)
    photographs = select_photographs(cohort, prepared, 1.0)
    graded = grade(network, photographs.store.pixels, len(table), batch=4)
    np.testing.assert_allclose(graded.probabilities, probabilities, atol=1e-3)
