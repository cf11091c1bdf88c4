"""Twelve thousand metrics into a SQLite store: eight runs logged by ``log_run`` beside one bare writer.

The bare writer sends the same numbers by MLflow's ``log_batch``, a thousand at a time, and keeps no
job key, no content digest and no parameters. Wall seconds, best of the repeats.

    python benchmarks/tracking.py [--repeats 3]
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from offsite.evaluation.tracking.logging import log_run
from offsite.evaluation.tracking.store import client_of

RUNS, EPOCHS, KEYS = 8, 30, 50


def values(epoch: int) -> dict[str, float]:
    """Return the numbers of one epoch."""
    return {f"loss_{key}": epoch + key / 100 for key in range(KEYS)}


def ours(uri: str, turn: int) -> None:
    """Log the runs as offsite does."""
    for run in range(RUNS):
        curves = [{"epoch": epoch, "losses": values(epoch)} for epoch in range(EPOCHS)]
        log_run(uri, "ours", f"run {run}", job_key=f"{turn} {run}", curves=curves)


def bare(uri: str, turn: int) -> None:
    """Log the same numbers by one writer in batches."""
    from mlflow.entities import Metric

    client = client_of(uri)
    known = client.get_experiment_by_name("bare")
    place = known.experiment_id if known else client.create_experiment("bare")
    run = client.create_run(place, run_name=str(turn)).info.run_id
    rows = [
        Metric(f"train/{name}_{number}", value, 0, epoch)
        for number in range(RUNS)
        for epoch in range(EPOCHS)
        for name, value in values(epoch).items()
    ]
    for start in range(0, len(rows), 1000):
        client.log_batch(run, metrics=rows[start : start + 1000])


def best(action: Callable[[str, int], None], uri: str, repeats: int) -> float:
    """Return the shortest wall time of several turns."""
    found = []
    for turn in range(repeats):
        start = time.perf_counter()
        action(uri, turn)
        found.append(time.perf_counter() - start)
    return min(found)


def main() -> None:
    """Time both and print their ratio."""
    parser = argparse.ArgumentParser(
        description="12,000 metrics, log_run beside one batched writer"
    )
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory(prefix="offsite-tracking-") as temporary:
        uri = f"sqlite:///{Path(temporary) / 'mlflow.db'}"
        client_of(uri)
        reference, logged = best(bare, uri, repeats), best(ours, uri, repeats)
    print(
        json.dumps(
            {"metrics": RUNS * EPOCHS * KEYS, "bare_seconds": round(reference, 2),
             "log_run_seconds": round(logged, 2), "ratio": round(logged / reference, 2)}
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
