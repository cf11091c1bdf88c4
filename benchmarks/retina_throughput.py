"""Preparation in photographs per second, and a training epoch of each method against ERM's.

    python benchmarks/retina_throughput.py [--px 64] [--methods ...] [--folder FOLDER]

Times are of the process's processor seconds on one thread, so that a busy machine does not change
them; the folder gets a synthetic cohort (a temporary one by default).
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import torch

from offsite.preprocessing.cohort.splits import SplitSettings, split_cohort
from offsite.preprocessing.cohort.table import load_cohort
from offsite.preprocessing.fundus.cohort import prepare_cohort
from offsite.preprocessing.fundus.photograph import FundusSettings, prepare_photograph
from offsite.preprocessing.synthetic.fundus.cohort import (
    SyntheticFundusSettings,
    make_fundus_cohort,
    make_photograph,
)
from offsite.preprocessing.synthetic.fundus.sites import CLINICS, GRADES
from offsite.retina.by_steps import batch_source, build_algorithm
from offsite.retina.methods import METHODS
from offsite.retina.photographs.of_run import RunPhotographs, select_photographs
from offsite.retina.settings import RetinaSettings


def preparation_rate(source_px: int, px: int, enhancement: str) -> float:
    """Return photographs per processor second, decoded pictures in, prepared ones out."""
    pictures = [
        make_photograph(seed, seed % 5, CLINICS[seed % 5].camera, px=source_px)
        for seed in range(10)
    ]
    settings = FundusSettings.model_validate({"px": px, "enhancement": enhancement})
    start = time.process_time()
    for picture in pictures * 3:
        prepare_photograph(picture, settings)
    return 3 * len(pictures) / (time.process_time() - start)


def epoch_seconds(name: str, photographs: RunPhotographs, settings: RetinaSettings) -> float:
    """Return processor seconds of one training epoch, its batches made included; best of two."""
    method = METHODS[name]
    algorithm = build_algorithm(method, photographs, settings, len(GRADES)).train()
    source = batch_source(method, photographs, settings)
    optimiser = torch.optim.AdamW(algorithm.parameters())
    best = float("inf")
    for epoch in (5, 6):  # past the warm-up
        start = time.process_time()
        for batch in source.batches(epoch):
            loss = algorithm.step(batch, 0.5)["loss"]
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        best = min(best, time.process_time() - start)
    return best


def main() -> None:
    """Time everything and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--px", type=int, default=64)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--backbone", default="thin_resnet18")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    for source_px in (512, 2048):
        for enhancement in ("none", "graham"):
            rate = preparation_rate(source_px, 256, enhancement)
            print(f"prepare {source_px} -> 256 px, {enhancement}: {rate:.0f} photographs/s")
    root = options.folder or Path(tempfile.mkdtemp(prefix="offsite-"))
    wanted = SyntheticFundusSettings(patients_per_site=60, px=2 * options.px, eyes=(1, 1))
    cohort = load_cohort(make_fundus_cohort(root, wanted, workers=1), GRADES)
    prepare_cohort(cohort, root / "prepared", FundusSettings(px=options.px), workers=1)
    split = split_cohort(cohort, SplitSettings(held_out_sites=("eastvale",)))
    photographs = select_photographs(split, root / "prepared", 4.0)
    settings = RetinaSettings.model_validate({"backbone": {"name": options.backbone}})
    plain = epoch_seconds("erm", photographs, settings)
    print(f"epoch of {len(photographs.rows('train'))} photographs, {options.px} px,"
          f" {options.backbone}: ERM {plain:.2f} s")  # fmt: skip
    for name in options.methods:
        seconds = plain if name == "erm" else epoch_seconds(name, photographs, settings)
        print(f"  {name:<16} {seconds:6.2f} s   {seconds / plain:.2f} x ERM", flush=True)


if __name__ == "__main__":
    main()
