"""The whole report, from a predictions table to the page: seconds and memory as the table grows.

    python benchmarks/evaluation_report.py [--rows 10000 100000] [--sites 50] [--features 64]

Each size runs in a process of its own. Prints processor and wall-clock seconds of every part, of all
together, and the most memory that the process held.
"""

import argparse
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

import offsite.evaluation.evaluating as evaluating
from offsite.evaluation.making import steps
from offsite.evaluation.predictions.table import Predictions

CLASSES = ("none", "mild", "moderate", "severe", "proliferative")


def predictions(rows: int, features: int, sites: int = 5) -> Predictions:
    """Sites of equal size, two in five held out and further away, two images of each patient."""
    rng = np.random.default_rng(0)
    tables, logits = [], []
    for number in range(sites):
        held_out = number % 5 in (3, 4)
        site, far = f"S{number:03d}", (0.5 if held_out else 0.0) + 0.1 * (number % 5)
        n = rows // sites
        truth = rng.choice(len(CLASSES), n, p=[0.5, 0.15, 0.2, 0.1, 0.05])
        logits.append(rng.normal(size=(n, len(CLASSES))) + (2 - far) * np.eye(len(CLASSES))[truth])
        split = np.array(["train", "train", "val", "test", "test"])[np.arange(n) // 2 % 5]
        tables.append(
            pd.DataFrame(
                {
                    "image": [f"{site}{i}" for i in range(n)],
                    "patient": [f"{site}{i // 2}" for i in range(n)],
                    "site": site,
                    "site_role": "held_out" if held_out else "training",
                    "split": "test" if held_out else split,
                    "label": np.array(CLASSES)[truth],
                }
            )
        )
    table, scores = pd.concat(tables, ignore_index=True), np.concatenate(logits)
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    mixing = rng.normal(size=(len(CLASSES), features))
    embeddings = (scores @ mixing).astype(np.float32)
    embeddings += rng.standard_normal(embeddings.shape, dtype=np.float32)
    return Predictions(
        table=table,
        classes=CLASSES,
        probabilities=probabilities,
        labels=table["label"].map(list(CLASSES).index).to_numpy(np.int64),
        embeddings=embeddings,
        logits=scores,
    )


class Clock:
    """Seconds of each step of an evaluation, told as they end."""

    def __init__(self, steps: tuple[str, ...]) -> None:
        self.steps, self.done = steps, 0
        self.start = self.last = (time.process_time(), time.perf_counter())

    def __call__(self, step: str) -> None:
        """Print a step's own seconds."""
        now = (time.process_time(), time.perf_counter())
        self.done += 1
        bar = "#" * self.done + "." * (len(self.steps) - self.done)
        self.line(f"[{bar}] {step}", now, self.last)
        self.last = now

    def line(self, name: str, now: tuple[float, float], since: tuple[float, float]) -> None:
        """A line of processor and wall-clock seconds, and of memory."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        cpu, wall = now[0] - since[0], now[1] - since[1]
        print(f"  {name:<32} {cpu:8.1f} s CPU {wall:8.1f} s {peak:7.2f} GB so far", flush=True)


def measured(rows: int, features: int, sites: int) -> None:
    """One size, from the table to the page."""
    made = predictions(rows, features, sites)
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{len(made):,} predictions, {sites} sites, {features} features: {base:.2f} GB with these"
    )
    settings = evaluating.ReportSettings.model_validate(
        {"metrics": {"tasks": {"referable": {"positive_classes": CLASSES[2:]}}}}
    )
    clock = Clock(steps(settings))
    with tempfile.TemporaryDirectory() as folder:
        found = evaluating.evaluate(made, Path(folder) / "evaluation", settings, progress=clock)
        size = found.report.stat().st_size / 1e3
        clock.line(f"everything, page of {size:.0f} kB", clock.last, clock.start)


def main() -> None:
    """Each size in a process of its own, so that memory is its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--sites", type=int, default=50)
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    for rows in arguments.rows:
        child = context.Process(target=measured, args=(rows, arguments.features, arguments.sites))
        child.start()
        child.join()
        if child.exitcode:
            sys.exit(child.exitcode)


if __name__ == "__main__":
    main()
