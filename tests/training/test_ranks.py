"""Two processes train as one does, and a run may go on with another number of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from problem import EXACT

DRIVER = Path(__file__).with_name("ranks_driver.py")
PATHS = {"PYTHONPATH": f"{DRIVER.parent}:{DRIVER.parents[2]}"}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    done = subprocess.run(
        [sys.executable, DRIVER, tmp_path_factory.mktemp("ranks")],
        capture_output=True,
        text=True,
        timeout=280,
        env=os.environ | PATHS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", EXACT)
def test_two_processes_follow_the_loss_curve_of_one(report, name):
    one, two = report[name]["one"], report[name]["two"]
    assert report[name]["codes"][:3] == [0, 0, 0]
    for alone, shared in zip(one["losses"], two["losses"], strict=True):
        assert alone.keys() == shared.keys()
        for loss, value in alone.items():
            assert shared[loss] == pytest.approx(value, abs=1e-4), loss
    np.testing.assert_allclose(two["scores"], one["scores"], atol=1e-4)
    np.testing.assert_allclose(two["weights"], one["weights"], atol=1e-4)


@pytest.mark.parametrize("name", ["cross-entropy", "contrast"])
@pytest.mark.parametrize("passed", ["1 then 2", "2 then 1"])
def test_a_run_goes_on_with_another_number_of_processes(report, name, passed):
    assert set(report[name]["codes"][3:]) == {0, 3}
    one, other = report[name]["one"], report[name][passed]
    assert len(other["losses"]) == 3
    np.testing.assert_allclose(
        [line["loss"] for line in other["losses"]],
        [line["loss"] for line in one["losses"]],
        atol=1e-4,
    )
    np.testing.assert_allclose(other["weights"], one["weights"], atol=1e-4)


@pytest.mark.slow
def test_torchrun_itself_trains_as_one_process_does(report, tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*torchrun, DRIVER, tmp_path, "contrast"],
        capture_output=True,
        text=True,
        timeout=280,
        env=os.environ | PATHS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in (tmp_path / "curves.jsonl").read_text().splitlines()]
    np.testing.assert_allclose(
        [line["losses"]["loss"] for line in lines],
        [losses["loss"] for losses in report["contrast"]["one"]["losses"]],
        atol=1e-4,
    )
