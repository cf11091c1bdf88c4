import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

DRIVER = Path(__file__).with_name("ranks_driver.py")


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [
        "sc_mil",
        "sc_mil+fishr",
        "cross_entropy+group_dro",
        "cross_entropy+mixstyle",
        "cross_entropy+mixup",
    ],
)
def test_two_processes_train_slides_as_one_does(method, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(DRIVER.parents[2])}
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    for name, prefix in (("one", []), ("two", torchrun)):
        command = [sys.executable, *prefix, str(DRIVER), str(tmp_path / name), method]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250)
        assert done.returncode == 0, done.stderr[-3000:]
    lines = {
        name: [json.loads(line) for line in (tmp_path / name / "curves.jsonl").open()]
        for name in ("one", "two")
    }
    for alone, shared in zip(lines["one"], lines["two"], strict=True):
        wanted = {"loss", "contrast", "classification", "beta", "penalty", "worst_risk"}
        for loss in wanted & alone["losses"].keys():
            assert shared["losses"][loss] == pytest.approx(alone["losses"][loss], abs=1e-4), loss
    one, two = (load_file(tmp_path / name / "weights.safetensors") for name in ("one", "two"))
    for name, weights in one.items():
        if name == "aggregator.score.bias":  # a softmax does not see it: its gradient is noise
            continue
        np.testing.assert_allclose(two[name], weights, atol=1e-4)
