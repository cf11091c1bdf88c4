"""A cohort of many large slides: packing, training and report, beside rivals' ways to read bags.

    python benchmarks/mil_size.py --slides 500 --out build/size

Each part runs in a process of its own on one thread and prints its CPU and wall seconds and the most
memory that it held; memory that is mapped from a file counts as far as it was touched. The rivals
train the same gated attention for one epoch on the same files: ``one bag at a time`` reads each slide
whole and takes a step on all of its tiles, as CLAM does; ``padded`` reads each slide whole, draws 512 tiles
of it and pads batches of 64, as STAMP does.
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from offsite.evaluation.evaluating import evaluate
from offsite.evaluation.predictions.table import load_predictions
from offsite.pathology.features.file import (
    LAYOUTS,
    FeatureOrigin,
    SlideFeatures,
    feature_path,
    read_features,
    write_features,
)
from offsite.pathology.features.store import pack_features
from offsite.pathology.settings import PathologySettings
from offsite.pathology.training import train_pathology
from offsite.preprocessing.cohort.table import Cohort
from offsite.training.aggregators.pooling import GatedAttention

TILES, DIMENSIONS, INSTANCES = 10_000, 1280, 512
PARTS = ("write", "pack", "train", "report", "one bag at a time", "padded")
EPOCHS = 2


def cohort_of(folder: Path, slides: int) -> Cohort:
    """Two classes at four sites; every tenth slide validates, every fifth is tested."""
    names = [f"s{number:04d}" for number in range(slides)]
    table = pd.DataFrame({"image": [f"{name}.svs" for name in names], "slide": names})
    table["patient"], table["mpp"] = names, np.nan
    table["site"] = [f"site{number % 4}" for number in range(slides)]
    table["label"] = [("normal", "tumour")[number // 4 % 2] for number in range(slides)]
    table["site_role"] = "training"
    table["split"] = [
        ("val", *4 * ("train",), "test", *4 * ("train",))[n % 10] for n in range(slides)
    ]
    return Cohort(table=table, classes=("normal", "tumour"), path=folder / "cohort.csv")


def write(folder: Path, slides: int, bits: int) -> None:
    """One slide's numbers, rolled and marked: drawing each anew would cost more than what is measured."""
    rng = np.random.default_rng(0)
    base = rng.standard_normal((TILES, DIMENSIONS), np.float32).astype(np.float16)
    coords = rng.integers(0, 100_000, (TILES, 2))
    origin = FeatureOrigin(
        tile_px=224, mpp=0.5, tile_size_level0=224.0, encoder="drawn", encoder_digest="drawn",
        version=LAYOUTS[bits],
    )  # fmt: skip
    for number, label in enumerate(cohort_of(folder, slides).table["label"]):
        rows = np.roll(base, 7 * number, axis=0)
        if label == "tumour":
            rows[: TILES // 20, :8] += np.float16(1.5)
        path = feature_path(folder, f"s{number:04d}")
        write_features(path, SlideFeatures(features=rows, coords=coords, origin=origin))


def train(folder: Path, slides: int) -> None:
    """Two epochs of SC-MIL, and the answers for every slide."""
    chosen = PathologySettings.model_validate({"fit": {"epochs": EPOCHS, "device": "cpu"}})
    train_pathology(cohort_of(folder, slides), folder, chosen, folder / "run")


def rival(
    folder: Path, slides: int, batches: Callable[[list[Path]], Iterator[torch.Tensor]]
) -> None:
    """One epoch over the training slides."""
    table = cohort_of(folder, slides).table
    training = table[table["split"] == "train"]
    torch.manual_seed(0)
    net, head = GatedAttention(DIMENSIONS, 256, 128, 0.0), nn.Linear(256, 2)
    optimiser = torch.optim.AdamW([*net.parameters(), *head.parameters()], lr=1e-4)
    labels = torch.from_numpy((training["label"] == "tumour").to_numpy(np.int64))
    done = 0
    for bags in batches([feature_path(folder, name) for name in training["slide"]]):
        rows, size = bags.flatten(0, 1), bags.shape[1]
        offsets = torch.arange(len(bags) + 1) * size
        logits = head(net(rows, offsets).embedding)
        loss = nn.functional.cross_entropy(logits, labels[done : done + len(bags)])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        done += len(bags)


def one_at_a_time(files: list[Path]) -> Iterator[torch.Tensor]:
    """Each slide whole."""
    for file in files:
        yield torch.from_numpy(read_features(file).features).float()[None]


def padded(files: list[Path]) -> Iterator[torch.Tensor]:
    """Sixty-four bags of 512 tiles."""
    rng = np.random.default_rng(0)
    for start in range(0, len(files), 64):
        bags = []
        for file in files[start : start + 64]:
            rows = torch.from_numpy(read_features(file).features).float()
            drawn = rows[torch.from_numpy(rng.permutation(len(rows))[:INSTANCES])]
            bags.append(nn.functional.pad(drawn, (0, 0, 0, INSTANCES - len(drawn))))
        yield torch.stack(bags)


def part(name: str, folder: Path, slides: int, bits: int) -> None:
    """Do one part."""
    torch.set_num_threads(1)
    files = {f"s{n:04d}": feature_path(folder, f"s{n:04d}") for n in range(slides)}
    if name == "write":
        write(folder, slides, bits)
    elif name == "pack":
        pack_features(files, folder / "packed")
    elif name == "train":
        train(folder, slides)
    elif name == "report":
        evaluate(load_predictions(folder / "run"), folder / "evaluation")
    else:
        rival(folder, slides, one_at_a_time if name == "one bag at a time" else padded)


def main() -> None:
    """Run each part in its own process, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/size"))
    parser.add_argument("--slides", type=int, default=500)
    parser.add_argument("--bits", type=int, default=16, choices=sorted(LAYOUTS))
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.part:
        begun, used = time.perf_counter(), time.process_time()
        part(chosen.part, chosen.out, chosen.slides, chosen.bits)
        wall, used = time.perf_counter() - begun, time.process_time() - used
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"| {chosen.part} | {used:.1f} | {wall:.1f} | {most:.2f} |", flush=True)
        return
    chosen.out.mkdir(parents=True, exist_ok=True)
    print(f"{chosen.slides} slides x {TILES} tiles x {DIMENSIONS} numbers, {chosen.bits} bits\n")
    print("| part | CPU s | wall s | most memory, GiB |\n|---|---:|---:|---:|", flush=True)
    for name in chosen.parts:
        words = ["--part", name, "--out", str(chosen.out), "--slides", str(chosen.slides)]
        subprocess.run([sys.executable, __file__, *words, "--bits", str(chosen.bits)], check=True)
    size = sum(file.stat().st_size for file in chosen.out.glob("*.h5")) / 2**30
    print(f"\nfeature files: {size:.2f} GiB")


if __name__ == "__main__":
    main()
