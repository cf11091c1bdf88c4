"""Time and memory of an epoch's batches, drawn from a cohort of 100,000 items and more.

PyTorch's WeightedRandomSampler, which knows no cells, patients or ranks, is timed beside ours.

    python benchmarks/training_samplers.py [--items 100000]
"""

import argparse
import json
import sys
import time
import tracemalloc
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from torch.utils.data import BatchSampler, WeightedRandomSampler

from offsite.training.samplers.class_aware import ClassAwareBatches
from offsite.training.samplers.pairs import PairBatches
from offsite.training.samplers.plans import RandomBatches
from offsite.training.samplers.shares import cells_of
from offsite.training.samplers.weighted import WeightedBatches


def samplers(n):
    """Return what draws an epoch of each sampler, by name."""
    rng = np.random.default_rng(0)
    labels = rng.choice(5, n, p=[0.73, 0.07, 0.15, 0.03, 0.02])
    sites = rng.integers(0, 8, n)
    patients = rng.integers(0, n // 2, n)
    cells, _ = cells_of(sites, labels)
    weights = 1.0 / np.bincount(labels)[labels]
    balanced = WeightedBatches(labels, 32, exponent=0.0)
    return {
        "torch WeightedRandomSampler": lambda: list(
            BatchSampler(WeightedRandomSampler(weights.tolist(), n), 32, drop_last=False)
        ),
        "random": lambda: RandomBatches(n, 32).batches(0),
        "balanced by class": lambda: balanced.batches(0),
        "square root, site x class": lambda: WeightedBatches(cells, 32, exponent=0.5).batches(0),
        "balanced, one per patient": lambda: WeightedBatches(
            labels, 32, exponent=0.0, patients=patients
        ).batches(0),
        "class-aware": lambda: ClassAwareBatches(labels, 32).batches(0),
        "class-aware, across sites": lambda: ClassAwareBatches(labels, 32, sites=sites).batches(0),
        "pairs across sites": lambda: PairBatches(balanced, sites).batches(0),
    }


def main():
    """Time an epoch of each and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    n = parser.parse_args().items
    results = []
    print(f"{'sampler':<30}{'s/epoch':>9}{'us/item':>9}{'peak MiB':>10}")
    for name, draw in samplers(n).items():
        draw()
        start = time.process_time()
        draw()
        seconds = time.process_time() - start
        tracemalloc.start()
        draw()
        peak = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        print(f"{name:<30}{seconds:>9.3f}{1e6 * seconds / n:>9.2f}{peak:>10.1f}")
        results.append({"sampler": name, "seconds": seconds, "items": n, "peak_mib": peak})
    print(json.dumps(results))


if __name__ == "__main__":
    main()
