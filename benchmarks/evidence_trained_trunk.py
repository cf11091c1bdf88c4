"""DECO and its rivals on the trained trunk, each real site left out in turn.

    python benchmarks/evidence_trained_trunk.py settle --data FOLDER --out FOLDER --minutes 15
    python benchmarks/evidence_trained_trunk.py test --data FOLDER --out FOLDER --minutes 15
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
from patient_intervals import Judged, drawn_values, interval_of
from refitted_heads import refitted_runs
from retina_protocols import run_protocol

from offsite.evaluation.predictions.table import load_predictions
from offsite.files import read_json
from offsite.preprocessing.cohort.splits import SplitSettings
from offsite.preprocessing.cohort.table import Cohort
from offsite.preprocessing.fundus.cohort import prepare_cohort
from offsite.preprocessing.fundus.photograph import FundusSettings
from offsite.retina.settings import RetinaSettings
from offsite.training.cells import Cell, divisions_of, experiment_cells

SHORT = {"dr_aptos_filtered": "APTOS", "dr_idrid": "IDRiD", "dr_messidor2": "Messidor-2"}
SETTLING_SEEDS, TEST_SEEDS = (0,), (30, 31, 32)
RATES = (3e-4, 1e-3)
FIRST = ("erm", "control", "swap", "deco")
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
PX, REFERABLE, SEVERE, WANTED = 128, 2, 3, 0.9
CASES, DRAWS = (50, 100), 3


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
    divisions = [d for d in divisions_of("leave_one_site_out", cohort.sites)
                 if d[0] in options.left_out]  # fmt: skip
    for cell in experiment_cells(options.methods, divisions, options.seeds):
        run_protocol(
            cohort, prepared, settings_of(cell.method, CHOSEN.get(cell.method, 1.0), options.device),
            [cell], options.runs / "test",
            splits=SplitSettings(val=0.15, test=0.15, seed=cell.seed),
            progress=lambda done, total, cell: print(cell.name, flush=True),
            go_on=lambda: time.monotonic() < end,
        )  # fmt: skip


def judged(folder: Path, referable: int) -> tuple[Judged, float, float]:
    """What a run says of the site left out; sensitivity and specificity at the carried threshold."""
    predictions = load_predictions(folder)
    table, labels = predictions.table, predictions.labels
    probabilities = np.stack([table[f"prob_{name}"] for name in predictions.classes], axis=1)
    scores = probabilities[:, referable:].sum(axis=1)
    site = folder.parts[-2].removeprefix("without-")
    here = (table["site"] == site).to_numpy() & (labels >= 0)
    val = ((table["split"] == "val") & (table["site_role"] == "training")).to_numpy()
    threshold = np.quantile(scores[val & (labels >= referable)], 1 - WANTED)
    called, truth = scores[here] >= threshold, labels[here] >= referable
    run = Judged(
        folder.name, scores[here], probabilities[here].argmax(1), labels[here],
        table["patient"].to_numpy(str)[here], np.ones(int(here.sum()), bool),
    )  # fmt: skip
    return run, float(called[truth].mean()), float((~called)[~truth].mean())


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
         "## DECO minus each, paired", differences(found), SETTLED,
         "No rate is settled." if tried.empty else markdown(tried.round(3))],
        "python benchmarks/evidence_trained_trunk.py report --data FOLDER --out FOLDER",
    )  # fmt: skip


def lines_of(
    method: str, cells: list[Path], found: dict[tuple[str, str], np.ndarray]
) -> dict[str, list[str]]:
    """A method's lines of the page: as trained, and after local cases; its drawn figures into ``found``."""
    shown: dict[int, list[str]] = {number: [] for number in (0, *CASES)}
    carried = []
    for number, (site, name) in enumerate(SHORT.items()):
        here = [f for f in cells if f.parts[-2] == f"without-{site}"]
        if not here:
            for part in shown.values():
                part.append("–")
            continue
        runs = [judged(f, REFERABLE) for f in here]
        values = drawn_values([run for run, _, _ in runs], REFERABLE, 5, seed=number)
        severe = [drawn_values([judged(f, SEVERE)[0]], SEVERE, 5)["auroc"][0, 0] for f in here]
        shown[0].append(_words(values, [f.name for f in here], float(np.mean(severe))))
        carried.append("{:.2f}; {:.2f}".format(*np.mean([run[1:] for run in runs], axis=0)))
        for row, f in enumerate(here):
            found[name, f.name] = np.stack([values["auroc"][row], values["kappa"][row]])
        local = [refitted_runs(f, CASES, DRAWS, REFERABLE) for f in here]
        for cases in CASES:
            after = [run for each in local for run in each[cases]]
            drawn = drawn_values(after, REFERABLE, 5, seed=number)
            shown[cases].append(_words(drawn, [run.seed for run in after], None))
    seeds = str(len({f.name for f in cells}))
    return {f"`{method}`{f', after {cases} cases' if cases else ''}":
            [*part, "" if cases else ", ".join(carried), seeds]
            for cases, part in shown.items()}  # fmt: skip


def _words(values: dict[str, np.ndarray], seeds: list[str], severe: float | None) -> str:
    a, k = (interval_of(values[each], np.array(seeds)) for each in ("auroc", "kappa"))
    middle = "" if severe is None else f"{severe:.3f} / "
    return f"{a[0]:.3f} ({a[1]:.3f}–{a[2]:.3f}) / {middle}{k[0]:.3f} ({k[1]:.3f}–{k[2]:.3f})"


def differences(found: dict[str, dict[tuple[str, str], np.ndarray]]) -> str:
    """DECO minus each other method over the cells that both have, patient draws and seeds paired."""
    lines = {}
    for method, cells in found.items():
        both = sorted(set(cells) & set(found.get("deco", {})))
        if method == "deco" or not both:
            continue
        by_seed = {}
        for seed in sorted({seed for _, seed in both}):
            sites = [cell for cell in both if cell[1] == seed]
            by_seed[seed] = np.mean([found["deco"][cell] - cells[cell] for cell in sites], axis=0)
        rows, seeds = np.stack(list(by_seed.values())), np.array(list(by_seed))
        parts = [interval_of(rows[:, n], seeds) for n in (0, 1)]
        lines[f"`{method}`"] = [*(f"{m:+.3f} ({low:+.3f} to {high:+.3f})" for m, low, high in parts),
                                str(len(both))]  # fmt: skip
    if not lines:
        return "No cell that two methods have is finished."
    table = pd.DataFrame(lines, index=["AUROC referable", "quadratic kappa", "cells"]).T
    table.index.name = "DECO minus"
    return markdown(table)


PREFACE = """EfficientNet-Lite0 from its ImageNet weights at 128 px, its first three of five stages frozen (stem to
the trunk's third), the rest trained for five epochs; batch norms keep their statistics; copies as other
cameras would give them; the weights of the epoch with the best AUC on validation patients of the training
sites. DECO mixes right behind the frozen stages. The site left out takes part in nothing. Every method has
its own rate, settled by the same budget: two rates on one settling seed, without the site left out, judged
by validation patients. Means over seeds; intervals (95 %) are of patients and, with several, of seeds.
Sensitivity and specificity for referable grades are at the threshold that found 90 % of them on the training
sites' validation photographs. After 50 and 100 local cases a linear grade of each run's embeddings is refitted
as `offsite site calibrate --refit` does it, three draws of local patients, who do not judge."""
SETTLED = """## What settled the rates

Validation patients of the training sites, settling seed 0, means over the divisions that were tried."""


if __name__ == "__main__":
    chosen = arguments()
    {"settle": settle, "test": test, "report": report}[chosen.stage](chosen)
