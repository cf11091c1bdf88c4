"""What threads cost a small fit: ten epochs over ninety slides, by how many threads torch may take.

    python benchmarks/mil_threads.py
    python benchmarks/mil_threads.py --slides 20 --tiles 8192 8193 --instances 8192 --epochs 3 --threads 1 2

Each fit runs in a process of its own over the same packed slides: with what offsite decides where
``OMP_NUM_THREADS`` is not set, and with one, two and four threads told by it. The second line is a fit of
large batches. A line says the CPU and the wall seconds of the training alone. Beside other work the clock says little, and CPU time that is
spent waiting for a thread counts.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from offsite.pathology.features.file import (
    FeatureOrigin,
    SlideFeatures,
    feature_path,
    write_features,
)
from offsite.pathology.settings import PathologySettings
from offsite.pathology.training import train_pathology
from offsite.preprocessing.cohort.table import Cohort

DIMENSIONS = 1280
DECIDED = "offsite decides"


def cohort_of(folder: Path, slides: int) -> Cohort:
    """Two classes at three sites; every fifth slide validates, every fifth is tested."""
    names = [f"s{number:03d}" for number in range(slides)]
    table = pd.DataFrame({"image": [f"{name}.svs" for name in names], "slide": names})
    table["patient"], table["mpp"], table["site_role"] = names, np.nan, "training"
    table["site"] = [f"site{number % 3}" for number in range(slides)]
    table["label"] = [("normal", "tumour")[number // 3 % 2] for number in range(slides)]
    table["split"] = [("train", "val", "train", "test", "train")[n % 5] for n in range(slides)]
    return Cohort(table=table, classes=("normal", "tumour"), path=folder / "cohort.csv")


def write(folder: Path, slides: int, tiles: tuple[int, int]) -> None:
    """Slides of so many tiles (low, high), a tumour in a tenth of them."""
    rng = np.random.default_rng(0)
    origin = FeatureOrigin(
        tile_px=224, mpp=0.5, tile_size_level0=224.0, encoder="drawn", encoder_digest="drawn"
    )
    for slide, label in cohort_of(folder, slides).table[["slide", "label"]].itertuples(index=False):
        count = int(rng.integers(*tiles))
        rows = rng.standard_normal((count, DIMENSIONS), np.float32)
        rows[: count // 10, :8] += 1.5 * (label == "tumour")
        coords = np.zeros((count, 2), np.int64)
        features = SlideFeatures(features=rows.astype(np.float16), coords=coords, origin=origin)
        write_features(feature_path(folder, slide), features)


def fit(folder: Path, slides: int, method: str, epochs: int, instances: int) -> None:
    """Train once and say what it cost."""
    chosen = PathologySettings.model_validate(
        {"method": method, "instances": instances, "fit": {"epochs": epochs, "device": "cpu"}}
    )
    with tempfile.TemporaryDirectory() as run:
        begun, used = time.perf_counter(), time.process_time()
        train_pathology(cohort_of(folder, slides), folder, chosen, Path(run) / "run")
        wall, used = time.perf_counter() - begun, time.process_time() - used
    print(f"{used:.1f} | {wall:.1f} |", flush=True)


def main() -> None:
    """Print a table of threads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slides", type=int, default=90)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--method", default="sc_mil")
    parser.add_argument("--tiles", type=int, nargs=2, default=[100, 400], help="Low and high.")
    parser.add_argument("--instances", type=int, default=512, help="Of a bag in training.")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--fit", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.fit:
        fit(asked.fit, asked.slides, asked.method, asked.epochs, asked.instances)
        return
    print(
        f"{asked.slides} slides x {asked.tiles[0]} to {asked.tiles[1]} tiles x {DIMENSIONS} numbers,",
        end=" ",
    )
    print(f"{asked.epochs} epochs of {asked.method}\n")
    print("| threads | CPU s | wall s |\n|---|---:|---:|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), asked.slides, tuple(asked.tiles))
        for threads in (DECIDED, *asked.threads):
            told = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
            if threads != DECIDED:
                told["OMP_NUM_THREADS"] = str(threads)
            print(f"| {threads} |", end=" ", flush=True)
            words = ["--fit", folder, "--slides", str(asked.slides), "--method", asked.method]
            words += ["--epochs", str(asked.epochs), "--instances", str(asked.instances)]
            subprocess.run([sys.executable, __file__, *words], check=True, env=told)


if __name__ == "__main__":
    main()
