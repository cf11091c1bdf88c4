"""DECO and its rivals on the trained trunk, each real site left out in turn.

    python benchmarks/evidence_trained_trunk.py settle --data FOLDER --out FOLDER --minutes 15
    python benchmarks/evidence_trained_trunk.py test --data FOLDER --out FOLDER --minutes 15
    python benchmarks/evidence_trained_trunk.py test ... --protocol single_source --methods linear erm deco \
        --seeds 30 31
    python benchmarks/evidence_trained_trunk.py report --data FOLDER --out FOLDER

``--data`` and ``--out`` as for ``evidence_real_photographs.py``, whose cohort and prepared photographs are
taken where they lie in ``--out``; ``--runs`` gets the runs. ``settle`` tries the same rates for each method on
the settling seed, without the site left out, and is judged by validation patients. The rates that it chose
stand in `CHOSEN`, committed before ``test`` is run. Every stage goes on where it was ended.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json

import numpy as np
import pandas as pd
from evidence import markdown, write_page
from evidence_retina import SITES, build_cohort
from retina_protocols import run_protocol
from trained_trunk_page import SHORT, differences, lines_of, of_single_sources

from offsite.files import read_json
from offsite.preprocessing.cohort.splits import SplitSettings
from offsite.preprocessing.cohort.table import Cohort
from offsite.preprocessing.fundus.cohort import prepare_cohort
from offsite.preprocessing.fundus.photograph import FundusSettings
from offsite.retina.settings import RetinaSettings
from offsite.training.cells import Cell, divisions_of, experiment_cells

SETTLING_SEEDS, TEST_SEEDS = (0,), (30, 31, 32)
RATES = (3e-4, 1e-3)
FIRST = ("erm", "control", "swap", "deco")
SINGLE = ("linear", "erm", "deco")
FURTHER = ("mixstyle", "coral", "group_dro", "fishr", "gdrnet", "erm_swad")
CHOSEN: dict[str, float] = {}
"""The rate of each method, by ``settle``."""
RECIPE = {
    "backbone": {"name": "efficientnet-lite0", "frozen_stages": 3, "split_after": 2,
                 "frozen_norms": True, "frozen_copies": 6, "rate_by_depth": 0.7},
    "augmentation": "cameras", "batch_size": 32,
    "fit": {"epochs": 5, "warmup": 0.1, "gradient_clip": 5.0, "select_by": "auc",
            "checkpoint_every_seconds": 60},
}  # fmt: skip
PX = 128


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stage", choices=["settle", "test", "report"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--runs", type=Path, help="folder of the runs; in --out by default")
    parser.add_argument("--methods", nargs="+", default=list(FIRST))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(TEST_SEEDS))
    parser.add_argument("--left-out", nargs="+", default=list(SHORT), choices=list(SHORT))
    parser.add_argument("--protocol", default="leave_one_site_out",
                        choices=["leave_one_site_out", "single_source"])  # fmt: skip
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--table", type=Path, default=Path("docs/evidence/trained_trunk.md"))
    options = parser.parse_args()
    options.runs = options.runs or options.out / f"trained-{PX}"
    return options


def settings_of(method: str, rate: float, device: str) -> RetinaSettings:
    """Return the recipe of a method."""
    if method == "linear":
        return RetinaSettings.model_validate({"method": method})
    fit = {**RECIPE["fit"], "learning_rate": rate, "device": device}
    return RetinaSettings.model_validate({**RECIPE, "method": method, "fit": fit})


def without(cohort: Cohort, site: str) -> Cohort:
    """The cohort as it is where a site is not known at all."""
    table = cohort.table[cohort.table["site"] != site].reset_index(drop=True)
    return Cohort(table=table, classes=cohort.classes, path=cohort.path)


def prepared_in(options: argparse.Namespace) -> tuple[Cohort, Path]:
    """The cohort and the folder of its prepared photographs."""
    cohort = build_cohort(options.data, SITES, 10**9, options.out)
    folder = options.out / f"prepared-{PX}"
    preparation = FundusSettings(px=PX, enhancement="matched", already_cropped=True)
    prepare_cohort(cohort, folder, preparation, workers=1)
    return cohort, folder


def settle(options: argparse.Namespace) -> None:
    """Try each rate of each method on the training sites of each division."""
    end = time.monotonic() + 60 * options.minutes
    cohort, prepared = prepared_in(options)
    for seed in SETTLING_SEEDS:
        for site in options.left_out:
            for rate in RATES:
                for method in options.methods:
                    run_protocol(
                        without(cohort, site), prepared, settings_of(method, rate, options.device),
                        [Cell(method, (), seed)], settled_in(options, site, rate),
                        splits=SplitSettings(val=0.15, test=0.15, seed=seed),
                        progress=lambda done, total, cell: print(cell.name, flush=True),
                        go_on=lambda: time.monotonic() < end,
                    )  # fmt: skip
    print(settled(options).to_string())


def settled_in(options: argparse.Namespace, site: str, rate: float) -> Path:
    """The folder of the settling runs of a division and a rate."""
    return Path(options.runs) / "settle" / f"{SHORT[site]}-{rate:g}"


def settled(options: argparse.Namespace) -> pd.DataFrame:
    """Validation scores by method and rate, means over the divisions that all rates have."""
    rows = []
    for site in SHORT:
        for rate in RATES:
            for folder in settled_in(options, site, rate).glob("*/all-sites/seed-*"):
                if not finished(folder):
                    continue
                epoch = read_json(folder / "run.json")["facts"]["selected_epoch"]
                lines = [json.loads(line) for line in (folder / "curves.jsonl").open()]
                scores = lines[epoch if epoch is not None else -1]["scores"]
                rows.append({"method": folder.parts[-3], "rate": rate, "site": SHORT[site],
                             "auc": scores["auc"], "kappa": scores["kappa"]})  # fmt: skip
    if not rows:
        return pd.DataFrame()
    table = pd.DataFrame(rows).pivot_table(
        index=["method", "site"], columns="rate", values=["auc", "kappa"]
    )
    means = table.dropna().groupby("method").mean()
    means.columns = [f"{score}, rate {rate:g}" for score, rate in means.columns]
    return means


def finished(folder: Path) -> bool:
    """Whether a run is done."""
    file = folder / "run.json"
    return file.is_file() and read_json(file)["status"] == "done"


def test(options: argparse.Namespace) -> None:
    """Run the cells of the test seeds that are missing."""
    end = time.monotonic() + 60 * options.minutes
    cohort, prepared = prepared_in(options)
    unsettled = sorted(set(options.methods) - set(CHOSEN) - {"linear"})
    if unsettled:
        raise SystemExit(f"settle {', '.join(unsettled)} first, and commit the rates")
    divisions = [
        d for d in divisions_of(options.protocol, cohort.sites) if set(options.left_out) >= set(d)
    ]
    for cell in experiment_cells(options.methods, divisions, options.seeds):
        run_protocol(
            cohort, prepared, settings_of(cell.method, CHOSEN.get(cell.method, 1.0), options.device),
            [cell], options.runs / "test",
            splits=SplitSettings(val=0.15, test=0.15, seed=cell.seed),
            progress=lambda done, total, cell: print(cell.name, flush=True),
            go_on=lambda: time.monotonic() < end,
        )  # fmt: skip


def report(options: argparse.Namespace) -> None:
    """Write the page from the runs that are finished."""
    found: dict[str, dict[tuple[str, str], np.ndarray]] = {}
    lines: dict[str, list[str]] = {}
    for method in ("linear", *FIRST, *FURTHER):
        cells = [
            f for f in (options.runs / "test" / method).glob("without-*/seed-*") if finished(f)
        ]
        if cells:
            found[method] = {}
            lines |= lines_of(method, sorted(cells), found[method])
    heads = [*SHORT.values(), "sensitivity; specificity", "seeds"]
    shown = pd.DataFrame(lines, index=heads).T
    shown.index.name = "AUROC referable / of grades ≥ 3 / quadratic kappa"
    tried = settled(options)
    write_page(
        options.table, "DECO and its rivals on the trained trunk",
        [PREFACE, markdown(shown) if lines else "No cell of the test seeds is finished.",
         "## DECO minus each, paired", differences(found), ONE_SOURCE,
         of_single_sources({m: cells_of(options, m, one_source=True) for m in SINGLE}), SETTLED,
         "No rate is settled." if tried.empty else markdown(tried.round(3))],
        "python benchmarks/evidence_trained_trunk.py report --data FOLDER --out FOLDER",
    )  # fmt: skip


def cells_of(options: argparse.Namespace, method: str, one_source: bool) -> list[Path]:
    """The finished runs of a method, on one source or on more."""
    folders = (options.runs / "test" / method).glob("without-*/seed-*")
    return sorted(f for f in folders if finished(f) and ("+" in f.parts[-2]) == one_source)


PREFACE = """EfficientNet-Lite0 from its ImageNet weights at 128 px, its first three of five stages frozen (stem to
the trunk's third), the rest trained for five epochs; batch norms keep their statistics; copies as other
cameras would give them; the weights of the epoch with the best AUC on validation patients of the training
sites. DECO mixes right behind the frozen stages. The site left out takes part in nothing. Every method has
its own rate, settled by the same budget: two rates on one settling seed, without the site left out, judged
by validation patients. Means over seeds; intervals (95 %) are of patients and, with several, of seeds.
Sensitivity and specificity for referable grades are at the threshold that found 90 % of them on the training
sites' validation photographs. After 50 and 100 local cases a linear grade of each run's embeddings is refitted
as `offsite site calibrate --refit` does it, three draws of local patients, who do not judge."""
ONE_SOURCE = """## One source, two targets

Trained on one site, judged at the two others, which take part in nothing; two seeds."""
SETTLED = """## What settled the rates

Validation patients of the training sites, settling seed 0, means over the divisions that were tried."""


if __name__ == "__main__":
    chosen = arguments()
    {"settle": settle, "test": test, "report": report}[chosen.stage](chosen)
