"""A modality of another package goes the whole way through the command, and no room is edited for it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from offsite.workflows.server.image_root import IMAGES
from tests.workflows.test_serving import ask, free_port

pytestmark = pytest.mark.slow  # some fifteen processes, each of which loads torch
HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def offsite(environment: dict[str, str], *words: object, code: int = 0) -> str:
    """Run the installed command; return what it prints."""
    program = Path(sys.executable).parent / "offsite"
    start = [str(program)] if program.exists() else [sys.executable, "-m", "offsite"]
    done = subprocess.run(
        [*start, *map(str, words)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def registered(installed: dict[str, str], job: Path) -> dict[str, str]:
    """From the check to the champion, a command at a time."""
    assert "coral/without-cob/seed-0" in offsite(installed, "workflow", "check", job)
    for part in ("1/2", "2/2"):
        # Exit code 3: one picture failed and has its row.
        offsite(
            installed, "workflow", "shrink", job, "--part", part, code=3 if part == "1/2" else 0
        )
    offsite(installed, "workflow", "shrink", job, "--join", 2)
    run = Path(offsite(installed, "train", job).strip())
    offsite(installed, "evaluate", run)
    address = offsite(installed, "model", "register", job, "--gate", job.parent / "gate.yaml")
    return {"run": str(run), "address": address.strip()}


def test_every_picture_ends_as_a_row_and_the_run_holds_at_the_site_left_out(
    registered: dict[str, str], job: Path
) -> None:
    rows = pd.read_csv(job.parent / "output" / "shrunk" / "shrunk.csv", keep_default_na=False)
    assert rows["slide"].tolist()[-1] == "torn"
    assert rows["code"].tolist() == [*[""] * 90, "unreadable_image"]
    run = Path(registered["run"])
    assert json.loads((run / "run.json").read_text())["status"] == "done"
    sites = pd.read_csv(run / "evaluation" / "per_site.csv")
    held_out = sites[(sites["site"] == "cob") & (sites["metric"] == "auroc")]
    assert held_out["value"].iloc[0] > 0.9
    page = (run / "evaluation" / "report.html").read_text()
    assert "not readable" in page


def test_the_champion_predicts_and_serves(
    registered: dict[str, str], installed: dict[str, str], job: Path, tmp_path: Path
) -> None:
    uri = f"sqlite:///{job.parent / 'output' / 'mlflow.db'}"
    new = tmp_path / "new"
    new.mkdir()
    for number in (0, 3):
        shutil.copy(job.parent / f"picture-{number}.png", new)
    (new / "letter.png").write_text("a letter")
    model = registered["address"].rsplit("/", 1)[0] + "@champion"
    offsite(
        installed, "predict", new, "--model", model, "--tracking-uri", uri, "--site", "cob",
        "-o", tmp_path / "out", "--device", "cpu", code=3,
    )  # fmt: skip
    rows = pd.read_csv(tmp_path / "out" / "results.csv", keep_default_na=False)
    assert rows["prediction"].tolist() == ["", "plain", "striped"]
    assert rows["code"].tolist()[0] == "unreadable"
    code = (
        "import mlflow, sys; mlflow.set_tracking_uri(sys.argv[1]);"
        "model = mlflow.pyfunc.load_model(sys.argv[2]);"
        "print(*model.predict([{'image': path} for path in sys.argv[3:]])['prediction'])"
    )
    images = sorted(map(str, new.glob("picture*")))
    served = subprocess.run(
        [sys.executable, "-c", code, uri, model, *images],
        env={**installed, IMAGES: str(new)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert served.stdout.split() == ["plain", "striped"]


def test_two_processes_train_it_as_one_does_and_the_first_alone_holds_the_folder(
    registered: dict[str, str], installed: dict[str, str], job: Path
) -> None:
    ranks = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    train = ["-m", "offsite", "train", job, "--set", "output=two", "--device", "cpu"]
    shutil.copytree(job.parent / "output" / "shrunk", job.parent / "two" / "shrunk")
    done = subprocess.run(
        [sys.executable, *ranks, *train],
        env=installed, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    alone, shared = Path(registered["run"]), job.parent / "two" / "runs"
    (run,) = shared.glob("*/*/*")
    one, two = (load_file(folder / "weights.safetensors") for folder in (alone, run))
    for name, weights in one.items():
        np.testing.assert_allclose(
            two[name], weights, atol=1e-3, err_msg=name
        )  # of some .3, after 30 epochs
    assert (run / "cell.json").is_file()


def test_a_server_answers_for_it(
    registered: dict[str, str], installed: dict[str, str], job: Path
) -> None:
    uri, port = f"sqlite:///{job.parent / 'output' / 'mlflow.db'}", free_port()
    programs = Path(sys.executable).parent
    server = subprocess.Popen(
        [programs / "mlflow", "models", "serve", "-m", registered["address"],
         "--env-manager", "local", "-p", str(port), "-w", "1"],
        env={**installed, "MLFLOW_TRACKING_URI": uri, IMAGES: str(job.parent),
             "PATH": f"{programs}:{os.environ['PATH']}"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        image = str(job.parent / "picture-3.png")
        answer = ask(port, {"dataframe_split": {"columns": ["image"], "data": [[image]]}})
        assert answer["predictions"][0]["prediction"] == "striped"  # type: ignore[index]
    finally:
        os.killpg(server.pid, 9)
        server.wait()


def test_its_step_stands_in_the_help(
    installed: dict[str, str],
) -> None:
    said = offsite(installed, "workflow", "shrink", "--help")
    assert "Make every picture small and grey" in said
    assert "shrink" in offsite(installed, "workflow", "--help")
    refused = subprocess.run(
        [sys.executable, "-m", "offsite", "workflow", "shrunk"],
        env=installed, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert refused.returncode == 2
