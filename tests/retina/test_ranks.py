"""Two processes train a model of photographs as one does, prototypes and batch norms included."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

pytestmark = pytest.mark.slow

DRIVER = Path(__file__).with_name("ranks_driver.py")


@pytest.fixture(scope="module")
def runs(prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    done = subprocess.run(
        [sys.executable, DRIVER, prepared.cohort.path, prepared.folder, folder],
        capture_output=True, text=True, timeout=560,
        env=os.environ | {"PYTHONPATH": str(DRIVER.parents[2])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize(
    "case",
    [
        "deco",
        "gdrnet",
        "mixstyle",
        "mixup",
        "coral",
        "deco-maps",
        "gdrnet-maps",
        "mixstyle-maps",
        "crops",
    ],
)
def test_two_processes_follow_the_loss_curve_of_one(runs, case):
    one, two = (
        [json.loads(line) for line in (runs / f"{case}-{name}/curves.jsonl").open()]
        for name in ("one", "two")
    )
    assert len(one) == 2
    for alone, shared in zip(one, two, strict=True):
        assert shared["losses"] == pytest.approx(alone["losses"], abs=1e-9)
        assert shared["scores"] == pytest.approx(alone["scores"], abs=1e-9)


@pytest.mark.parametrize("case", ["deco", "deco-maps"])
def test_both_processes_have_the_prototypes_of_one(runs, case):
    alone = load_file(runs / f"{case}-one-rank0.safetensors")
    assert {"prototypes.class_sum", "prototypes.mean_sum", "prototypes.sd_sum"} <= alone.keys()
    assert alone["prototypes.class_mass"].min() > 0
    for rank in (0, 1):
        shared = load_file(runs / f"{case}-two-rank{rank}.safetensors")
        assert shared.keys() == alone.keys()
        for name, values in alone.items():
            np.testing.assert_allclose(shared[name], values, atol=1e-9, err_msg=name)
