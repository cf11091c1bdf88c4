"""A cohort of many large slides: packing, training and report, beside rivals' ways to read bags.

    python benchmarks/mil_size.py --slides 500 --out build/size

Each part runs in a process of its own on one thread and prints its CPU and wall seconds and the most
memory that it held: its own (looked at every 20 ms), and with the pages of mapped files that it touched,
which the system takes back where it needs them. ``train`` is two epochs of SC-MIL with validation, and the
answers for every slide. The last three train the same gated attention for one epoch on the same slides, and
differ in how they read bags: ``packed`` as offsite does, 512 tiles of each of 64 slides from the packed array;
``padded`` reads each slide whole, draws 512 tiles of it and pads batches of 64, as STAMP does; ``one bag at a
time`` reads each slide whole and takes a step on all of its tiles, as CLAM does. Neither rival's own network,
loss nor answers are in it. All slides are of one size here, so that padding itself costs nothing.
"""

import argparse
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import torch
from torch import nn

from offsite.evaluation.evaluating import evaluate
from offsite.evaluation.predictions.table import load_predictions
from offsite.pathology.bags import BagLoader, BagTable
from offsite.pathology.features.file import (
    FeatureOrigin,
    SlideFeatures,
    feature_path,
    write_features,
)
from offsite.pathology.features.store import pack_features
from offsite.pathology.settings import PathologySettings
from offsite.pathology.slides_of_run import STORE
from offsite.pathology.training import train_pathology
from offsite.preprocessing.cohort.table import Cohort
from offsite.training.aggregators.pooling import GatedAttention

TILES, DIMENSIONS, INSTANCES, BATCH = 10_000, 1280, 512, 64
PARTS = ("write", "pack", "train", "report", "packed", "padded", "one bag at a time")
EPOCHS = 2
Batches = Callable[[Path, dict[str, Path], list[str]], Iterator[torch.Tensor]]


def cohort_of(folder: Path, slides: int) -> Cohort:
    """Two classes at four sites; every tenth slide validates, every fifth is tested."""
    names = [f"s{number:04d}" for number in range(slides)]
    table = pd.DataFrame({"image": [f"{name}.svs" for name in names], "slide": names})
    table["patient"], table["mpp"] = names, np.nan
    table["site"] = [f"site{number % 4}" for number in range(slides)]
    table["label"] = [("normal", "tumour")[number // 4 % 2] for number in range(slides)]
    table["site_role"] = "training"
    table["split"] = [
        ("val", *4 * ("train",), "test", *4 * ("train",))[(n + n // 10) % 10] for n in range(slides)
    ]
    return Cohort(table=table, classes=("normal", "tumour"), path=folder / "cohort.csv")


def files_of(folder: Path, slides: int) -> dict[str, Path]:
    """Where each slide's features are."""
    return {f"s{n:04d}": feature_path(folder, f"s{n:04d}") for n in range(slides)}


def write(folder: Path, slides: int) -> None:
    """One slide's numbers, rolled and marked: drawing each anew would cost more than what is measured."""
    rng = np.random.default_rng(0)
    base = rng.standard_normal((TILES, DIMENSIONS), np.float32).astype(np.float16)
    coords = rng.integers(0, 100_000, (TILES, 2))
    origin = FeatureOrigin(
        tile_px=224, mpp=0.5, tile_size_level0=224.0, encoder="drawn", encoder_digest="drawn",
    )  # fmt: skip
    for number, label in enumerate(cohort_of(folder, slides).table["label"]):
        rows = np.roll(base, 7 * number, axis=0)
        if label == "tumour":
            rows[: TILES // 20, :8] += np.float16(1.5)
        path = feature_path(folder, f"s{number:04d}")
        write_features(path, SlideFeatures(features=rows, coords=coords, origin=origin))


def train(folder: Path, slides: int) -> None:
    """Two epochs of SC-MIL, and the answers for every slide."""
    chosen = PathologySettings.model_validate(
        {"fit": {"epochs": EPOCHS, "device": "cpu"}, "resident_gib": 0}
    )
    train_pathology(cohort_of(folder, slides), folder, chosen, folder / "run")


def epoch(folder: Path, slides: int, batches: Batches) -> float:
    """One epoch over the training slides; batches are bags x tiles x numbers. Return CPU s of reading."""
    table = cohort_of(folder, slides).table
    training = table[table["split"] == "train"]
    torch.manual_seed(0)
    net, head = GatedAttention(DIMENSIONS, 256, 128, 0.0), nn.Linear(256, 2)
    optimiser = torch.optim.AdamW([*net.parameters(), *head.parameters()], lr=1e-4)
    labels = torch.from_numpy((training["label"] == "tumour").to_numpy(np.int64))
    done, begun, computed = 0, time.process_time(), 0.0
    for bags in batches(folder, files_of(folder, slides), list(training["slide"])):
        read = time.process_time()
        rows, size = bags.flatten(0, 1), bags.shape[1]
        offsets = torch.arange(len(bags) + 1) * size
        logits = head(net(rows, offsets).embedding)
        loss = nn.functional.cross_entropy(logits, labels[done : done + len(bags)])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        done += len(bags)
        computed += time.process_time() - read
    return time.process_time() - begun - computed


def read_whole(file: Path) -> np.ndarray:
    """The features of a file as the rivals read them, without offsite's checks."""
    with h5py.File(file) as opened:
        return np.asarray(opened["features"][:])


def one_at_a_time(_: Path, files: dict[str, Path], names: list[str]) -> Iterator[torch.Tensor]:
    """Each slide whole."""
    for name in names:
        yield torch.from_numpy(read_whole(files[name])).float()[None]


def padded(_: Path, files: dict[str, Path], names: list[str]) -> Iterator[torch.Tensor]:
    """Sixty-four bags of 512 tiles, each slide read whole."""
    rng = np.random.default_rng(0)
    for start in range(0, len(names), BATCH):
        bags = []
        for name in names[start : start + BATCH]:
            features = read_whole(files[name])
            which = rng.permutation(len(features))[:INSTANCES]
            drawn = torch.from_numpy(features[which]).float()
            bags.append(nn.functional.pad(drawn, (0, 0, 0, INSTANCES - len(drawn))))
        yield torch.stack(bags)


def packed(folder: Path, files: dict[str, Path], names: list[str]) -> Iterator[torch.Tensor]:
    """Sixty-four bags of 512 tiles of the packed array."""
    store = pack_features(files, folder / STORE)
    slides = tuple((store.index(name),) for name in names)
    table = BagTable(tuple(names), slides, np.zeros(len(names), np.int64))
    loader = BagLoader(store, table, instances=INSTANCES)
    for start in range(0, len(names), BATCH):
        which = np.arange(start, min(start + BATCH, len(names)))
        batch = loader.training_batch(which, 0, np.zeros(len(which), np.int64))
        yield batch.rows.reshape(len(which), INSTANCES, DIMENSIONS)


class Memory:
    """The most memory of this process: its own, looked at every 20 ms by a thread, and with files' pages."""

    def __init__(self) -> None:
        self._own, self._left = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._left.wait(0.02):
            self._own = max(self._own, self._said("RssAnon"))

    @staticmethod
    def _said(name: str) -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(name)).split()[1]) / 2**20

    def ended(self) -> tuple[float, float]:
        """GiB of both."""
        self._left.set()
        self._thread.join()
        return self._own, self._said("VmHWM")


def part(name: str, folder: Path, slides: int) -> str:
    """Do one part; say what of its CPU seconds is reading, where that is told apart."""
    torch.set_num_threads(1)
    if name == "write":
        write(folder, slides)
    elif name == "pack":
        pack_features(files_of(folder, slides), folder / STORE)
    elif name == "train":
        train(folder, slides)
    elif name == "report":
        evaluate(load_predictions(folder / "run"), folder / "evaluation")
    else:
        read = epoch(folder, slides, {"packed": packed, "padded": padded}.get(name, one_at_a_time))
        return f"{read:.1f}"
    return ""


def main() -> None:
    """Run each part in its own process, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/size"))
    parser.add_argument("--slides", type=int, default=500)
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.part:
        memory, begun, used = Memory(), time.perf_counter(), time.process_time()
        read = part(chosen.part, chosen.out, chosen.slides)
        wall, used = time.perf_counter() - begun, time.process_time() - used
        own, most = memory.ended()
        told = f"{used:.1f} | {read} | {wall:.1f} | {own:.2f} | {most:.2f}"
        print(f"| {chosen.part} | {told} |", flush=True)
        return
    chosen.out.mkdir(parents=True, exist_ok=True)
    print(f"{chosen.slides} slides x {TILES} tiles x {DIMENSIONS} numbers\n")
    print("| part | CPU s | of it reading | wall s | own memory, GiB | with mapped pages, GiB |")
    print("|---|---:|---:|---:|---:|---:|", flush=True)
    for name in chosen.parts:
        words = ["--part", name, "--out", str(chosen.out), "--slides", str(chosen.slides)]
        subprocess.run([sys.executable, __file__, *words], check=True)
    size = sum(file.stat().st_size for file in chosen.out.glob("*.h5")) / 2**30
    print(f"\nfeature files: {size:.2f} GiB")


if __name__ == "__main__":
    main()
