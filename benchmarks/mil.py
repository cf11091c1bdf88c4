"""Speed and memory of packed bags: training steps, reading instances, writing GeoJSON.

    python benchmarks/mil.py [--json out.json]

All rivals run in this one process on the same numbers, each the best of several rounds.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import torch
from torch import nn

from offsite.pathology.attention.geojson import write_geojson
from offsite.pathology.attention.heatmap import TileGrid
from offsite.pathology.bags import Bags
from offsite.pathology.features.locating import locate
from offsite.pathology.features.store import pack_features
from offsite.training.aggregators.pooling import GatedAttention

SIZES = (60, 90, 140, 210, 330, 480, 700, 950, 1400, 2100, 3200, 10_000)
DIMENSIONS, WIDTH = 256, 128


def best(action: Callable[[], object], rounds: int) -> float:
    """Return the least CPU seconds of several rounds, after one that does not count."""
    action()
    times = []
    for _ in range(rounds):
        begun = time.process_time()
        action()
        times.append(time.process_time() - begun)
    return min(times)


def best_in_turn(actions: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the least CPU ms of each action; they take turns, so a slow moment hits all."""
    found = dict.fromkeys(actions, np.inf)
    for _ in range(rounds):
        for name, action in actions.items():
            found[name] = min(found[name], 1e3 * best(action, 1))
    return found


def training_steps(rounds: int) -> dict[str, float]:
    """Forward and backward pass of gated attention on uneven bags, three ways."""
    rng = np.random.default_rng(0)
    bags = [rng.normal(size=(size, DIMENSIONS)).astype(np.float32) for size in SIZES]
    labels = torch.arange(len(bags)) % 3
    torch.manual_seed(0)
    aggregator = GatedAttention(DIMENSIONS, WIDTH, 64, 0.0)
    classifier = nn.Linear(WIDTH, 3)
    packed = Bags.pack(bags)
    padded = torch.zeros(len(bags), max(SIZES), DIMENSIONS)
    mask = torch.zeros(len(bags), max(SIZES), dtype=torch.bool)
    for number, bag in enumerate(bags):
        padded[number, : len(bag)] = torch.from_numpy(bag)
        mask[number, : len(bag)] = True
    singles = [(torch.from_numpy(bag), torch.tensor([0, len(bag)])) for bag in bags]

    def logits_packed() -> torch.Tensor:
        return classifier(aggregator(packed.rows, packed.offsets).embedding)

    def logits_padded() -> torch.Tensor:
        hidden = aggregator.instances(padded)
        scores = aggregator.score(aggregator.tanh(hidden) * aggregator.gate(hidden))[..., 0]
        weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=1)
        return classifier(torch.einsum("bn,bnd->bd", weights, hidden))

    def logits_loop() -> torch.Tensor:
        return classifier(torch.cat([aggregator(*bag).embedding for bag in singles]))

    def step(logits: Callable[[], torch.Tensor]) -> Callable[[], None]:
        def run() -> None:
            nn.functional.cross_entropy(logits(), labels).backward()

        return run

    ways = {
        "packed": logits_packed,
        "padded with mask": logits_padded,
        "loop over bags": logits_loop,
    }
    with torch.no_grad():
        reference = logits_packed()
        for logits in ways.values():
            torch.testing.assert_close(logits(), reference, rtol=0, atol=1e-4)
    return best_in_turn({name: step(logits) for name, logits in ways.items()}, rounds)


def reading(rounds: int) -> dict[str, float]:
    """512 of 8,000 instances: from the packed store, and by reading a TRIDENT-layout file."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for slide in range(2):
            with h5py.File(folder / f"s{slide}.h5", "w") as file:
                rows = rng.normal(size=(8000, 1024)).astype(np.float32)
                file.create_dataset("features", data=rows, chunks=(1, 1024), maxshape=(None, 1024))
                file.create_dataset("coords", data=np.zeros((8000, 2), np.int64))
        store = pack_features(locate(folder, ["s0", "s1"]), folder / "packed")
        which = np.sort(rng.choice(8000, 512, replace=False))

        def trident() -> np.ndarray:
            with h5py.File(folder / "s1.h5") as file:
                return file["features"][:][which]

        def packed() -> np.ndarray:
            return store.rows(1, which).astype(np.float32)

        np.testing.assert_allclose(packed(), trident(), rtol=1e-3, atol=1e-3)
        return {
            "packed store": 1e3 * best(packed, 4 * rounds),
            "TRIDENT-layout file": 1e3 * best(trident, rounds),
        }


def geojson(rounds: int) -> dict[str, float]:
    """50,000 tiles: streamed, compressed, and a loop over a data frame."""
    rng = np.random.default_rng(0)
    count = 50_000
    coords = np.stack([np.arange(count) % 250, np.arange(count) // 250], axis=1) * 224
    grid, attention = TileGrid(coords, 224.0, (56_000, 44_800)), rng.dirichlet(np.ones(count))
    frame = pd.DataFrame({"x": coords[:, 0], "y": coords[:, 1], "attention": attention * count})

    def loop(path: Path) -> None:
        features = []
        for _, row in frame.iterrows():
            x, y = int(row["x"]), int(row["y"])
            ring = [[x, y], [x + 224, y], [x + 224, y + 224], [x, y + 224], [x, y]]
            measured = {"attention": float(row["attention"])}
            features.append(
                {
                    "type": "Feature",
                    "geometry": {"type": "Polygon", "coordinates": [ring]},
                    "properties": {"objectType": "tile", "measurements": measured},
                }
            )
        path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return {
            "streamed": 1e3 * best(lambda: write_geojson(folder / "a.geojson", grid, attention), rounds),
            "streamed, .gz": 1e3 * best(lambda: write_geojson(folder / "a.geojson.gz", grid, attention), rounds),
            "loop over a data frame": 1e3 * best(lambda: loop(folder / "b.geojson"), 1),
        }  # fmt: skip


def peak_mib(bags: int) -> float:
    """Peak memory (MiB, of an own process) of predicting ``bags`` bags from a mapped store.

    Its own memory: pages of the mapped file stay only as long as nothing else needs the room.
    """
    text = subprocess.run(
        [sys.executable, __file__, "--predict-bags", str(bags)],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return float(text)


def predict_many(bags: int) -> None:
    """Predict bags of 2,000 instances of a mapped store; print the peak memory (MiB)."""
    from offsite.pathology.bags import BagLoader, BagTable
    from offsite.pathology.features.store import FeatureStore
    from offsite.pathology.inference import predict_all
    from offsite.pathology.sc_mil import ScMil
    from offsite.pathology.settings import ScMilSettings

    with tempfile.TemporaryDirectory() as name:
        rows = np.lib.format.open_memmap(
            Path(name) / "rows.npy", "w+", np.float16, (bags * 2000, DIMENSIONS)
        )
        store = FeatureStore(
            tuple(map(str, range(bags))), rows, np.zeros((0, 2), np.int64),
            np.arange(bags + 1) * 2000, "", "", "",
        )  # fmt: skip
        table = BagTable(store.slides, tuple((b,) for b in range(bags)), np.zeros(bags, np.int64))
        model = ScMil(DIMENSIONS, 3, ScMilSettings.model_validate({}))
        peak = 0
        for _ in predict_all(model, BagLoader(store, table), max_rows=8192):
            status = Path("/proc/self/status").read_text()
            peak = max(peak, int(status.split("RssAnon:")[1].split()[0]))
    print(peak / 1024)


def main() -> None:
    """Time everything and print the tables."""
    parser = argparse.ArgumentParser(description="Speed and memory of packed bags")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--predict-bags", type=int)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.predict_bags:
        predict_many(given.predict_bags)
        return
    found = {
        f"training step, {len(SIZES)} bags of {min(SIZES)} to {max(SIZES):,} instances (CPU ms)":
            training_steps(given.rounds),
        "512 of 8,000 instances of 1,024 numbers (CPU ms)": reading(given.rounds),
        "GeoJSON of 50,000 tiles (CPU ms)": geojson(given.rounds),
        "peak memory of predicting bags of 2,000 (MiB)": {
            f"{bags} bags": peak_mib(bags) for bags in (20, 80)
        },
    }  # fmt: skip
    for title, rows in found.items():
        print(f"\n{title}")
        first = next(iter(rows.values()))
        for name, value in rows.items():
            print(f"  {name:24} {value:10.2f}   {value / first:7.2f} x")
    if given.json:
        given.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
