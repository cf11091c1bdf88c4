"""Crops of one eye as a bag, against the same trunk on the whole photograph, each real site left out.

    python benchmarks/evidence_crops.py settle --data FOLDER --out FOLDER [--minutes 8]
    python benchmarks/evidence_crops.py test --data FOLDER --out FOLDER [--minutes 8]
    python benchmarks/evidence_crops.py report

Cohort, sites, divisions, figures and tables are those of ``evidence_trained_trunk.py``; ``--out`` may be
its folder. The trunk is frozen in all arms and reads each photograph once for all cells. A line of figures
of each finished cell goes to ``--records``; call it again to go on.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from evidence import write_page
from evidence_retina import SITES, build_cohort
from evidence_trained_trunk import MOST, NO_RATE, RATES, without
from retina_protocols import run_protocol
from trained_trunk_page import differences, left_out_table, settled_table
from trained_trunk_records import SHORT, Records, left_out_figures, settling_figures

from offsite.preprocessing.cohort.splits import SplitSettings
from offsite.preprocessing.cohort.table import Cohort
from offsite.preprocessing.fundus.cohort import prepare_cohort
from offsite.preprocessing.fundus.photograph import FundusSettings
from offsite.retina.settings import RetinaSettings
from offsite.training.cells import Cell, divisions_of, experiment_cells

SETTLING_SEED, SETTLING_SITE, TEST_SEEDS = 0, "dr_idrid", (40, 41, 42)
PX, CROP_PX, COPIES, EPOCHS = 448, 224, 2, 20
MAX_UPSAMPLING = 2.5
TRUNK = {"name": "efficientnet-lite0", "stages": "all"}
ARMS = {
    "crops": {"frozen": True, "crops": 3, "crop_px": CROP_PX, "frozen_copies": COPIES},
    "whole": {"frozen": True},
    "linear": {},
}
"""What is added to the trunk; `whole` is trained by steps on the photograph as it is, `linear` in closed form."""
CHOSEN = {"crops": 1e-3, "whole": 3e-3}
"""The rate of each arm that is trained by steps, by ``settle``: the higher AUC over pairs of grades."""


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stage", choices=["settle", "test", "report"])
    parser.add_argument("--data", type=Path, help="not needed by report")
    parser.add_argument("--out", type=Path, help="not needed by report")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(TEST_SEEDS))
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--records", type=Path, default=Path("docs/evidence/cells/crops"))
    parser.add_argument("--table", type=Path, default=Path("docs/evidence/crops.md"))
    options = parser.parse_args()
    if options.stage != "report" and (options.data is None or options.out is None):
        parser.error(f"{options.stage} needs --data and --out")
    options.end = time.monotonic() + 60 * options.minutes
    return options


def settings_of(arm: str, rate: float) -> RetinaSettings:
    """Return the recipe of an arm."""
    given = {"backbone": {**TRUNK, **ARMS[arm]}, "linear": {"copies": COPIES}}
    if arm == "linear":
        return RetinaSettings.model_validate({**given, "method": "linear"})
    fit = {"epochs": EPOCHS, "learning_rate": rate, "warmup": 0.1, "gradient_clip": 5.0,
           "select_by": "auc", "device": "cpu"}  # fmt: skip
    return RetinaSettings.model_validate(
        {**given, "method": "erm", "augmentation": "cameras", "batch_size": 32, "fit": fit}
    )


def prepared_in(options: argparse.Namespace) -> tuple[Cohort, Path]:
    """The cohort and the folder of its prepared photographs."""
    options.out.mkdir(parents=True, exist_ok=True)
    cohort = build_cohort(options.data, SITES, MOST, options.out)
    folder = options.out / f"prepared-{PX}"
    preparation = FundusSettings(
        px=PX, enhancement="matched", already_cropped=True, max_upsampling=MAX_UPSAMPLING
    )
    prepare_cohort(cohort, folder, preparation, workers=1)
    return cohort, folder


def run_cell(
    cohort: Cohort, prepared: Path, arm: str, cell: Cell, rate: float, folder: Path
) -> Path:
    """Run a cell of an arm, or what is missing of it; return its folder."""
    settings = settings_of(arm, rate)
    run = Cell(settings.method, cell.held_out, cell.seed)
    shares = SplitSettings(val=0.15, test=0.15, seed=cell.seed)
    run_protocol(cohort, prepared, settings, [run], folder / arm, splits=shares)
    return folder / arm / run.name


def settle(options: argparse.Namespace) -> None:
    """Try each rate of the arms that are trained by steps, without the site left out."""
    cohort, prepared = prepared_in(options)
    records = records_of(options)
    for rate in RATES:
        for arm in (arm for arm in ARMS if arm != "linear"):
            named = Cell(arm, (SETTLING_SITE,), SETTLING_SEED)
            if records.has("settle", named, rate) or time.monotonic() > options.end:
                continue
            folder = options.out / f"crops-{PX}" / f"settle-{rate:g}"
            cell = Cell(arm, (), SETTLING_SEED)
            run = run_cell(without(cohort, SETTLING_SITE), prepared, arm, cell, rate, folder)
            records.add("settle", named, rate, settling_figures(run))
            print("settle", arm, rate, flush=True)


def test(options: argparse.Namespace) -> None:
    """Run the cells of the test seeds that are missing, a seed after the other."""
    unsettled = sorted(set(ARMS) - set(CHOSEN) - {"linear"})
    if unsettled:
        raise SystemExit(f"settle {', '.join(unsettled)} first, and commit the rates")
    cohort, prepared = prepared_in(options)
    records, folder = records_of(options), options.out / f"crops-{PX}" / "test"
    divisions = divisions_of("leave_one_site_out", cohort.sites)
    for cell in experiment_cells(list(ARMS), divisions, options.seeds):
        rate = CHOSEN.get(cell.method, NO_RATE)
        if records.has("leave_one_site_out", cell, rate) or time.monotonic() > options.end:
            continue
        run = run_cell(cohort, prepared, cell.method, cell, rate, folder)
        figures = left_out_figures(run, cell, cohort.classes)
        records.add("leave_one_site_out", cell, rate, figures)
        print(cell.name, flush=True)


def records_of(options: argparse.Namespace) -> Records:
    """The finished cells of this recipe."""
    return Records(options.records, [TRUNK, ARMS, PX, CROP_PX, COPIES, EPOCHS, MOST])


def report(options: argparse.Namespace) -> None:
    """Write the page from the cells that are finished."""
    records = records_of(options)
    cells = records.found("leave_one_site_out")
    write_page(
        options.table, "Crops of one eye as a bag",
        [PREFACE, left_out_table(cells, list(ARMS)), "## Crops minus each, paired",
         differences(cells, list(ARMS), "crops"), SAYS, "## What settled the rates",
         settled_table(records.found("settle"))],
        "python benchmarks/evidence_crops.py report",
    )  # fmt: skip


PREFACE = f"""Do microaneurysms, a few pixels wide, help a model that reads the photograph in parts? The three
sites of [the trained trunk](trained_trunk.md), at most {MOST} photographs of a site, prepared at {PX} px:
{", ".join(SHORT.values())} come with 224, 512 and 256 px, so of two of them this shows no more than was there, enlarged.
The trunk is frozen and reads, in `crops`, 3 x 3 crops of {CROP_PX} px that overlap by half, pooled by additive
attention; in `whole` the photograph as it is, under a linear classifier trained by the same steps ({EPOCHS} epochs,
the best on validation patients kept); in `linear`, the default method, the same as `whole` in closed form. Each
reads all stages, mean and deviation, of {COPIES} altered copies of a training photograph (`whole` and `linear` also of
the photograph itself). Rates of the first two were settled on seed {SETTLING_SEED} with IDRiD left out, by validation patients.
Registered before the first was run, seeds {", ".join(map(str, TEST_SEEDS))}: `crops` stays a method to recommend if it ranks
better (AUROC referable, mean of the three sites) than both others, intervals (95 %) of patients and seeds above zero."""

SAYS = """## What it says so far

Rates are settled; the cells of the test seeds are not run. The first cell of crops that was settled, which read the crops,
took some nine minutes of a processor."""


if __name__ == "__main__":
    chosen = arguments()
    {"settle": settle, "test": test, "report": report}[chosen.stage](chosen)
