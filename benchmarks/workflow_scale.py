"""The workflow's own cost: simulated slides by the thousand, and tiny real ones beside the commands.

``simulate`` lets the packaged rules run over a cohort of empty files; a stand-in for ``offsite``
sleeps for each slide and writes its rows, so that what is measured is the workflow. ``compare``
does a real job of tiny slides twice, under the workflow and as bare commands in the same shards.

    python benchmarks/workflow_scale.py simulate --slides 10000 --shards 100
    python benchmarks/workflow_scale.py compare --slides 200
"""

import argparse
import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import yaml

from offsite.preprocessing.synthetic.slides.biology import CLASSES
from offsite.preprocessing.synthetic.slides.cohort import SyntheticSlideSettings, make_slide_cohort
from offsite.preprocessing.synthetic.slides.sites import SITES
from offsite.workflows.jobs.job import Job
from offsite.workflows.pipeline.running import command

# Stands in the folder that the rules run in, where `python -m offsite` finds it first.
STAND_IN = """
import csv, sys, time
from pathlib import Path

words = sys.argv[1:]
stage, source = words[1:3] if words[0] in ("workflow", "model") else words[:2]
if "--part" in sys.argv:
    part, parts = map(int, sys.argv[sys.argv.index("--part") + 1].split("/"))
    with Path(source).with_name("cohort.csv").open() as file:
        slides = [row["image"] for row in csv.DictReader(file)][part - 1::parts]
    time.sleep({seconds} * len(slides))
    rows = Path(f"{{stage}}.part-{{part}}-of-{{parts}}.csv")
    rows.write_text("".join(f"{{slide}},done\\n" for slide in slides))
elif "--join" in sys.argv:
    parts = int(sys.argv[sys.argv.index("--join") + 1])
    with open(f"{{stage}}.csv", "w") as whole:
        for part in range(1, parts + 1):
            whole.write(Path(f"{{stage}}.part-{{part}}-of-{{parts}}.csv").read_text())
elif stage == "evaluate":
    folder = Path(source) / "evaluation"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.html").write_text("simulated")
elif stage == "register":
    print("models:/simulated/1")
"""


@contextlib.contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Keep how long a block took."""
    start = time.perf_counter()
    yield
    seconds[name] = round(time.perf_counter() - start, 2)


def write_job(folder: Path, shards: int, seeds: int) -> Path:
    """Write the configuration of a job on ``folder/cohort.csv``."""
    path = folder / "job.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "task": "pathology", "cohort": "cohort.csv", "classes": list(CLASSES),
                "output": "results", "cells": {"shards": shards, "seeds": list(range(seeds))},
                "splits": {"held_out_sites": ["aster"], "val": 0.3, "test": 0.3},
                "tiles": {"tile_px": 128, "min_tissue": 0.3}, "encoder": {"tile_px": 128},
                "training": {"batch_size": 4, "instances": 16, "fit": {"epochs": 2}},
                "evaluation": {"metrics": {"resamples": 100, "calibration_simulations": 50}},
            }
        )
    )  # fmt: skip
    return path


def simulate(
    folder: Path, slides: int, shards: int, seeds: int, seconds: float
) -> dict[str, float]:
    """Run the rules over slides that are empty files; return what it took."""
    (folder / "slides").mkdir(parents=True)
    names = [f"slides/{number:06d}.svs" for number in range(slides)]
    for name in names:
        (folder / name).touch()
    sites = [site.name for site in SITES]
    pd.DataFrame(
        {
            "image": names,
            "patient": [f"p{number}" for number in range(slides)],
            "site": [sites[number % len(sites)] for number in range(slides)],
            "label": [CLASSES[number % len(CLASSES)] for number in range(slides)],
        }
    ).to_csv(folder / "cohort.csv", index=False)
    job = Job.load(write_job(folder, shards, seeds))
    (job.output / "workflows").mkdir(parents=True)
    (job.output / "workflows" / "__init__.py").touch()
    (job.output / "workflows" / "__main__.py").write_text(STAND_IN.format(seconds=seconds))
    jobs = 2 * shards + 2 + 2 * seeds + 3
    took: dict[str, float] = {"slides": slides, "jobs": jobs}
    workers = len(os.sched_getaffinity(0))
    for name, more in (("dag_seconds", ["--dry-run"]), ("run_seconds", []), ("again_seconds", [])):
        with timed(took, name):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            call = command(job, "default", workers, more)
            done = subprocess.run(call, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr[-3000:])
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        took[name.replace("seconds", "cpu_seconds")] = round(cpu, 2)
    slept = 2 * slides * seconds / workers
    took["overhead_seconds_per_job"] = round((took["run_seconds"] - slept) / jobs, 3)
    return took


def compare(folder: Path, slides: int, shards: int) -> dict[str, float]:
    """Do a job of tiny slides as bare commands and under the workflow; return what each took."""
    settings = SyntheticSlideSettings(
        sites=SITES[:3], patients=slides, slides_per_patient=(1, 1), width_um=330, height_um=330,
        class_shares=(1, 1, 1), artefacts=False, tissue_share=0.7,
    )  # fmt: skip
    table = make_slide_cohort(folder / "cohort", settings, workers=len(os.sched_getaffinity(0)))
    for name in ("bare", "workflow"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir()
        for path in table.parent.iterdir():
            (folder / name / path.name).symlink_to(path)
    took: dict[str, float] = {"slides": slides}
    with timed(took, "bare_seconds"):
        bare(write_job(folder / "bare", shards, 1), shards)
    config = write_job(folder / "workflow", shards, 1)
    with timed(took, "workflow_seconds"):
        call = [sys.executable, "-m", "offsite", "workflow", "run", str(config)]
        subprocess.run(call, check=True, capture_output=True)
    took["overhead_percent"] = round(100 * (took["workflow_seconds"] / took["bare_seconds"] - 1), 1)
    return took


def bare(config: Path, shards: int) -> None:
    """Do what the rules do, in the same shards and as many at a time."""

    def offsite(*words: object) -> None:
        call = [sys.executable, "-m", "offsite", *map(str, words)]
        subprocess.run(
            call, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for stage in ("tile", "embed"):
            parts = [f"{number}/{shards}" for number in range(1, shards + 1)]
            calls = [(stage, config, "--workers", 1, "--part", part) for part in parts]
            list(pool.map(lambda call: offsite(*call), calls))
            offsite(stage, config, "--join", shards)
    job = Job.load(config)
    offsite("train", config)
    offsite("evaluate", job.run_folder(job.cells()[0]))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda name: offsite(name, config), ("compare", "track")))
    offsite("register", config)


def main() -> None:
    """Simulate, or compare, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["simulate", "compare"])
    parser.add_argument("--slides", type=int, default=10_000)
    parser.add_argument("--shards", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.001, help="sleep for each slide")
    parser.add_argument("--folder", type=Path, help="work here, and keep the cohort for next time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="offsite-scale-") as temporary:
        folder = (options.folder or Path(temporary)).absolute()
        if options.what == "simulate":
            took = simulate(folder, options.slides, options.shards, options.seeds, options.seconds)
        else:
            took = compare(folder, options.slides, min(options.shards, 4))
    print(json.dumps(took))


if __name__ == "__main__":
    main()
