"""The whole report, from a predictions table to the page: seconds on 20,000 predictions, 5 sites.

    python benchmarks/evaluation_report.py [--rows 20000] [--features 256]

Prints process and wall-clock seconds of every table, of the page, and of all together.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

import offsite.evaluation.evaluating as evaluating
from offsite.evaluation.predictions.table import Predictions

CLASSES = ("none", "mild", "moderate", "severe", "proliferative")
SITES = {"A": 0.0, "B": 0.1, "C": 0.2, "D": 0.5, "E": 1.0}


def predictions(rows: int, features: int) -> Predictions:
    """Five sites, two of them held out and further away, two images of each patient."""
    rng = np.random.default_rng(0)
    tables, logits = [], []
    for site, far in SITES.items():
        n = rows // len(SITES)
        truth = rng.choice(len(CLASSES), n, p=[0.5, 0.15, 0.2, 0.1, 0.05])
        logits.append(rng.normal(size=(n, len(CLASSES))) + (2 - far) * np.eye(len(CLASSES))[truth])
        held_out = site in "DE"
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
    return Predictions(
        table=table,
        classes=CLASSES,
        probabilities=probabilities,
        labels=table["label"].map(list(CLASSES).index).to_numpy(np.int64),
        embeddings=scores @ mixing + rng.normal(size=(len(table), features)),
        logits=scores,
    )


def main() -> None:
    """Time each part, then the whole."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--features", type=int, default=256)
    arguments = parser.parse_args()
    rows = predictions(arguments.rows, arguments.features)
    settings = evaluating.ReportSettings.model_validate(
        {"metrics": {"tasks": {"referable": {"positive_classes": CLASSES[2:]}}}}
    )
    print(f"{len(rows):,} predictions, {len(SITES)} sites, {arguments.features} features")
    with tempfile.TemporaryDirectory() as folder:
        for part in ((), *((name,) for name in evaluating.PARTS)):
            chosen = settings.model_copy(update={"parts": part})
            cpu, wall = time.process_time(), time.perf_counter()
            evaluating._tables(rows, chosen, None, None)
            spent = time.process_time() - cpu, time.perf_counter() - wall
            if not part:
                base = spent
            own = spent if not part else tuple(a - b for a, b in zip(spent, base, strict=True))
            print(f"  {part[0] if part else 'per site':<20} {own[0]:6.1f} s CPU {own[1]:6.1f} s")
        cpu, wall = time.process_time(), time.perf_counter()
        found = evaluating.evaluate(rows, Path(folder) / "evaluation", settings)
        print(
            f"  {'everything, with page':<20} {time.process_time() - cpu:5.1f} s CPU "
            f"{time.perf_counter() - wall:6.1f} s, {found.report.stat().st_size / 1e3:.0f} kB"
        )


if __name__ == "__main__":
    main()
