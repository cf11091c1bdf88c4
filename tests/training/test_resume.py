"""A run killed at any moment ends as an undisturbed one does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    driver = Path(__file__).with_name("kill_driver.py")
    done = subprocess.run(
        [sys.executable, driver, tmp_path_factory.mktemp("killed")],
        capture_output=True,
        text=True,
        timeout=280,
        env=os.environ | {"PYTHONPATH": f"{driver.parent}:{driver.parents[2]}"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("averaging", ["none", "ema", "swad"])
def test_run_killed_by_signal_9_resumes_to_bit_equal_weights_and_the_same_curves(report, averaging):
    runs, codes = report[averaging]["runs"], report[averaging]["codes"]
    assert codes == [0] + [-9, 0] * (len(codes) // 2)
    whole = runs["whole"]
    assert [line["epoch"] for line in whole["curves"]] == [0, 1, 2, 3, 4]
    for moment, run in runs.items():
        assert run["weights"] == whole["weights"], moment
        assert run["curves"] == whole["curves"], moment
        assert run["files"] == ["curves.jsonl", "fit.json", "weights.safetensors"], moment


def test_the_random_kills_did_hit(report):
    assert report["none"]["kills"] >= 3


def test_the_kept_weights_are_those_that_the_settings_ask_for(report):
    whole = {name: part["runs"]["whole"] for name, part in report.items()}
    assert whole["none"]["reason"] == whole["ema"]["reason"] == "best"
    assert whole["swad"]["reason"] == "swad"
    assert len({run["weights"] for run in whole.values()}) == 3
