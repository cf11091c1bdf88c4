"""Preparation in photographs per second, and training by method, size and frozen depth.

    python benchmarks/retina_throughput.py [--px 64] [--methods ...] [--folder FOLDER]
    python benchmarks/retina_throughput.py --backbone efficientnet-lite0 --px 96 128 --frozen 0 2 3 4

Times are of the process's processor seconds on one thread, so that a busy machine changes little;
anchors count (a pair is one), batches made included. Of frozen stages the first line says what reading
one copy of a photograph takes, once. The folder gets a synthetic cohort (a temporary one by default).
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
from offsite.retina.by_steps import PhotographRun, batch_source
from offsite.retina.methods import METHODS
from offsite.retina.partly_frozen_run import PartlyFrozenRun
from offsite.retina.photographs.of_run import select_photographs
from offsite.retina.settings import RetinaSettings
from offsite.training.generalisation.erm import ERM
from offsite.training.samplers.plans import PlannedSource


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


class Bench:
    """A prepared cohort of one size, and training on it."""

    def __init__(self, root: Path, px: int) -> None:
        wanted = SyntheticFundusSettings(patients_per_site=60, px=2 * px, eyes=(1, 1))
        cohort = load_cohort(make_fundus_cohort(root, wanted, workers=1), GRADES)
        self.prepared = root / "prepared"
        prepare_cohort(cohort, self.prepared, FundusSettings(px=px), workers=1)
        self.split = split_cohort(cohort, SplitSettings(held_out_sites=("eastvale",)))
        self.photographs = select_photographs(self.split, self.prepared, 4.0)

    def run(self, name: str, backbone: dict[str, object]) -> tuple[float, float]:
        """Return anchors a second of training, and photographs a second of reading kept maps."""
        settings = RetinaSettings.model_validate({"backbone": backbone, "method": name})
        method = METHODS[name]
        kind = PartlyFrozenRun if settings.backbone.frozen_stages else PhotographRun
        run = kind(self.split, self.photographs, settings, self.prepared)
        start = time.process_time()
        algorithm = run.begun(method).train()
        read = time.process_time() - start
        copies = settings.backbone.frozen_copies * len(self.photographs.rows("train"))
        source = batch_source(method, self.photographs, settings, run.loader(method))
        return self._anchors_a_second(algorithm, source), copies / read

    def _anchors_a_second(self, algorithm: ERM, source: PlannedSource) -> float:
        trained = [each for each in algorithm.parameters() if each.requires_grad]
        optimiser = torch.optim.AdamW(trained)
        best = 0.0
        for epoch in (5, 6):  # past the warm-up
            start, anchors = time.process_time(), 0
            for batch in source.batches(epoch):
                loss = algorithm.step(batch, 0.5)["loss"]
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
                anchors += len(batch.anchors)
            best = max(best, anchors / (time.process_time() - start))
        return best


def main() -> None:
    """Time everything and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--px", type=int, nargs="+", default=[64])
    parser.add_argument("--frozen", type=int, nargs="+", default=[0], help="stages frozen")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--backbone", default="thin_resnet18")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--prepare", action="store_true", help="time preparation too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    for source_px in (512, 2048) if options.prepare else ():
        for enhancement in ("none", "graham"):
            rate = preparation_rate(source_px, 256, enhancement)
            print(f"prepare {source_px} -> 256 px, {enhancement}: {rate:.0f} photographs/s")
    root = options.folder or Path(tempfile.mkdtemp(prefix="offsite-"))
    for px in options.px:
        bench = Bench(root / str(px), px)
        for frozen in options.frozen:
            backbone = {"name": options.backbone}
            if frozen:
                backbone |= {"frozen_stages": frozen, "split_after": 3, "frozen_norms": True}
            plain = 0.0
            for name in options.methods:
                rate, read = bench.run(name, backbone)
                if frozen and not plain:
                    print(f"{px} px, {frozen} stages frozen: {read:.0f} copies/s are read, once")
                plain = plain or rate
                print(f"{options.backbone}, {px} px, {frozen} frozen, {name:<16} {rate:6.1f} anchors/s"
                      f"   {rate / plain:.2f} x {options.methods[0]}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
