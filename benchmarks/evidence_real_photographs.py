"""Method `linear` on real photographs, each site left out in turn, before and after local cases.

    python benchmarks/evidence_real_photographs.py --data FOLDER --out FOLDER [--px 160] [--seeds ...]

``--data`` as for ``evidence_retina.py``, whose cohort, preparation and protocol these are; one folder
below ``--out`` for each side and choice of stages. For each finished run local patients are drawn from
the site left out, the head is refitted from the run's sums as ``offsite site calibrate --refit`` does
it, and the other patients of the site judge. Call it again to go on; ``--report`` prints and writes the
page alone.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from evidence import markdown, write_page
from evidence_retina import SITES, build_cohort
from patient_intervals import Judged, mean_interval
from retina_protocols import run_protocol
from safetensors.numpy import load_file

from offsite.evaluation.predictions.table import load_predictions
from offsite.files import read_json
from offsite.preprocessing.cohort.splits import SplitSettings
from offsite.preprocessing.fundus.cohort import prepare_cohort
from offsite.preprocessing.fundus.photograph import FundusSettings
from offsite.retina.settings import RetinaSettings
from offsite.training.cells import divisions_of, experiment_cells
from offsite.training.heads.refit import refit
from offsite.workflows.package.heads import training_sums

SHORT = {"dr_aptos_filtered": "APTOS", "dr_idrid": "IDRiD", "dr_messidor2": "Messidor-2"}
# Of the page on methods: this cohort (at most 1,000 of a site), 64 px, ten epochs, three seeds.
EARLIER = {"from nothing, `erm`, 64 px": {"APTOS": (0.770, 0.285), "IDRiD": (0.691, 0.160),
                                         "Messidor-2": (0.620, 0.121)},
           "from nothing, `coral`, 64 px": {"APTOS": (0.792, 0.419), "IDRiD": (0.756, 0.254),
                                           "Messidor-2": (0.568, 0.107)}}  # fmt: skip
CASES = (20, 50, 100)
REFERABLE = 2
WANTED = 0.9


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", type=Path, default=Path("docs/evidence/real_photographs.md"))
    parser.add_argument("--px", type=int, nargs="+", default=[160])
    parser.add_argument("--stages", nargs="+", default=["all"], choices=["all", "late", "last"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11, 12])
    parser.add_argument("--draws", type=int, default=3, help="draws of local patients of a run")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--report", action="store_true", help="write the page and end")
    return parser.parse_args()


def run(options: argparse.Namespace) -> None:
    """Run the cells that are missing."""
    end = time.monotonic() + 60 * options.minutes
    options.out.mkdir(parents=True, exist_ok=True)
    cohort = build_cohort(options.data, SITES, 10**9, options.out)
    divisions = divisions_of("leave_one_site_out", cohort.sites)
    for px in options.px:
        prepared = options.out / f"prepared-{px}"
        preparation = FundusSettings(px=px, enhancement="matched", already_cropped=True)
        prepare_cohort(cohort, prepared, preparation, workers=1)
        for stages in options.stages:
            settings = RetinaSettings.model_validate(
                {"method": "linear", "backbone": {"stages": stages}}
            )
            for seed in options.seeds:  # each seed has a division of the training sites of its own
                run_protocol(
                    cohort,
                    prepared,
                    settings,
                    experiment_cells(["linear"], divisions, [seed]),
                    options.out / f"runs-{px}-{stages}",
                    splits=SplitSettings(val=0.15, test=0.15, seed=seed),
                    progress=lambda done, total, cell: print(done, total, cell.name, flush=True),
                    go_on=lambda: time.monotonic() < end,
                )


def judged_runs(folder: Path, draws: int) -> list[dict[str, object]]:
    """Return the answers at the site left out by one run: as shipped, and after local cases."""
    cell = folder.relative_to(folder.parents[2]).parts
    predictions = load_predictions(folder)
    table = predictions.table
    site = cell[1].removeprefix("without-")
    here = np.flatnonzero((table["site"] == site).to_numpy() & (predictions.labels >= 0))
    facts = read_json(folder / "run.json")["facts"]
    kept = {**load_file(folder / "sums.safetensors"), "penalty": facts["penalty"]}
    sums = training_sums({**kept, "sites": np.array(facts.get("sites_of_sums", []))})
    assert sums is not None
    rows, labels = predictions.embeddings[here].astype(float), predictions.labels[here]
    patients, shipped = table["patient"].to_numpy(str)[here], predictions.logits[here]
    val = ((table["split"] == "val") & (table["site_role"] == "training")).to_numpy()
    known = _referable(predictions.logits)[val & (predictions.labels >= REFERABLE)]
    everything = np.ones(len(here), bool)

    def judged(cases: int, logits: np.ndarray, judges: np.ndarray, scores: np.ndarray) -> None:
        run = Judged(cell[2], _referable(logits), logits.argmax(1), labels, patients, judges)
        threshold = np.quantile(scores, 1 - WANTED) if len(scores) else np.nan
        called, truth = run.scores[judges] >= threshold, labels[judges] >= REFERABLE
        found.append({"site": SHORT.get(site, site), "cases": cases, "run": run,
                      "sensitivity": called[truth].mean(), "specificity": (~called)[~truth].mean()})  # fmt: skip

    found: list[dict[str, object]] = []
    judged(0, shipped, everything, known)
    for cases in CASES:
        for draw in range(draws):
            names = np.random.default_rng([draw, cases]).permutation(np.unique(patients))
            local = np.isin(patients, names[:cases])
            new = refit(sums.rows, rows[local], labels[local], patients[local],
                        penalty=sums.penalty, seed=draw)  # fmt: skip
            carried = _referable(new.left_out)[labels[local] >= REFERABLE]
            judged(cases, new.head.logits(rows), ~local, carried)
    return found


def _referable(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (shifted / shifted.sum(axis=1, keepdims=True))[:, 2:].sum(axis=1)


def report(options: argparse.Namespace) -> None:
    """Write the page from the runs that are finished."""
    sites = list(SHORT.values())
    lines: dict[str, list[str]] = {}
    for name, row in EARLIER.items():
        values = [row[site] for site in sites]
        lines[name] = [*(f"{a:.3f} / {k:.3f}" for a, k in values), _mean(values), "", "3"]
    for px in options.px:
        for stages in options.stages:
            folders = sorted((options.out / f"runs-{px}-{stages}").glob("linear/*/seed-*"))
            done = [f for f in folders if (f / "run.json").is_file()
                    and read_json(f / "run.json")["status"] == "done"]  # fmt: skip
            if not done:
                continue
            rows = pd.DataFrame([row for f in done for row in judged_runs(f, options.draws)])
            for cases in (0, *CASES):
                after = f", after {cases} cases" if cases else ""
                part = rows[rows["cases"] == cases]
                lines[f"`linear`, {stages} stages, {px} px{after}"] = _line(part, sites)
    shown = pd.DataFrame(lines, index=[*sites, "mean", "sensitivity; specificity", "seeds"]).T
    shown.index.name = "referable AUROC / quadratic kappa at the site left out"
    write_page(
        options.table, "Real photographs, each site left out in turn", [PREFACE, markdown(shown), AFTER],
        "python benchmarks/evidence_real_photographs.py --data FOLDER --out FOLDER"
        f" --px {' '.join(map(str, options.px))} --stages {' '.join(options.stages)}",
    )  # fmt: skip


def _line(part: pd.DataFrame, sites: list[str]) -> list[str]:
    cells, values, carried, seeds = [], [], [], set()
    for site in sites:
        rows = part[part["site"] == site]
        if rows.empty:
            cells.append("–")
            continue
        found = mean_interval(list(rows["run"]), REFERABLE, 5)
        values.append((found["auroc"][0], found["kappa"][0]))
        cells.append(
            " / ".join(f"{m:.3f} ({low:.3f}–{high:.3f})" for m, low, high in found.values())
        )
        carried.append(f"{rows['sensitivity'].mean():.2f}; {rows['specificity'].mean():.2f}")
        seeds |= {run.seed for run in rows["run"]}
    mean = _mean(values) if len(values) == len(sites) else "–"
    return [*cells, mean, ", ".join(carried), str(len(seeds))]


def _mean(values: list[tuple[float, float]]) -> str:
    return " / ".join(f"{np.mean([value[n] for value in values]):.3f}" for n in (0, 1))


PREFACE = """IDRiD (India), Messidor-2 (France) and the filtered copy of APTOS (India), cleaned by the
audit (507, 1,734 and 3,487 photographs) and prepared alike (`matched`); two sites train, the third is
left out: it takes no part in the fit, the penalty or the cut points. Means over runs with 95 % intervals
of patients and seeds together; a run draws its division of the training sites, and after local cases also
three sets of local patients, who are not among those that judge. Sensitivity and specificity for referable grades are at
the threshold that found 90 % of them on the training sites' validation photographs, after local cases
at the one that found 90 % of them among the local cases, each answered by a head that did not see it."""
AFTER = """**What it says.** In the mean over the sites all stages rank better than fewer of them at each size (at APTOS
and 96 px alike), and larger pictures better than smaller ones with each choice of stages: 224 px instead
of 160 is worth .02 with all stages, as shipped, and .01 after 100 cases, and costs twice the time; it is the
size to take. 20 local cases gain more in kappa than size or stages (+.10 in the mean at 224 px), and less in
ranking. Kappa at a new site is uncertain: at APTOS all stages grade worse as shipped than the last or the late
ones do at 224 px (.56 against .65), though they rank better, and 20 cases repair it. The threshold carried
from the training sites misses most referable cases at Messidor-2 and spares few healthy ones at APTOS; that
of 50 and more local cases finds most of them everywhere (the column beside it).

The recipe (copies, weight of sites, penalty's slack) was settled on these three sites at 160 px, on
other divisions (seeds 0 to 2) than those shown; the figures speak of these sites and of no fourth one.
The rows from nothing are of [earlier trials](retina_trials.md), with at most 1,000 photographs of a
site. The filtered copy of APTOS is not what a camera gives."""


def main() -> None:
    """Run what is missing and write the page."""
    options = arguments()
    if not options.report:
        run(options)
    report(options)


if __name__ == "__main__":
    main()
