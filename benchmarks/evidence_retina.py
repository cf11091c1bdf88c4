"""Leave one site out on real photographs: DECO, its relatives and the baselines, side by side.

    python benchmarks/evidence_retina.py --data FOLDER --out FOLDER [--methods ...] [--seeds 0 1 2]

``--data`` holds a folder for each site with ``labels.csv`` (``file``, ``dr_grade`` and optionally
``patient``). The cohort is audited and cleaned (identical photographs once, none with two grades),
every site is prepared alike, and the cells run one after another, methods innermost, so that a part
of them compares like with like. Call it again to go on; ``--minutes`` ends early. ``--report``
prints the tables alone.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from retina_protocols import run_protocol
from retina_results import REFERABLE

from offsite.evaluation.predictions.table import Predictions, load_predictions
from offsite.evaluation.settings import EvaluationSettings, TaskSettings
from offsite.evaluation.tables.comparison import compare_methods
from offsite.preprocessing.cohort.audit import audit_cohort
from offsite.preprocessing.cohort.splits import SplitSettings
from offsite.preprocessing.cohort.strict_splits import strict_cohort
from offsite.preprocessing.cohort.table import Cohort, load_cohort
from offsite.preprocessing.fundus.cohort import prepare_cohort
from offsite.preprocessing.fundus.photograph import FundusSettings
from offsite.preprocessing.readers.building import GRADES, cohort_of, write_cohort
from offsite.retina.settings import RetinaSettings
from offsite.training.cells import Cell, divisions_of, experiment_cells

SITES = ("dr_idrid", "dr_messidor2", "dr_aptos_filtered")
METHODS = ("erm", "control", "mixstyle", "coral", "gdrnet", "tally", "deco")
COMPARED = ("auroc_ovo", "quadratic_weighted_kappa", "referable/auroc")
FIGURES = ("auc", "kappa", "referable_auc", "vision_threatening_auc", "accuracy", "macro_f1",
           "sensitivity", "specificity")  # fmt: skip


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sites", nargs="+", default=SITES)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--most", type=int, default=1000, help="photographs of a site at most")
    parser.add_argument("--px", type=int, default=64)
    parser.add_argument("--enhancement", choices=["none", "graham", "matched", "clahe"],
                        default="matched")  # fmt: skip
    parser.add_argument("--backbone", default="thin_resnet18")
    parser.add_argument("--width", type=int, default=8, help="of thin_resnet18")
    parser.add_argument("--split-after", type=int, default=1, help="stage whose style is mixed")
    parser.add_argument("--weights", type=Path, help="local first weights")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--report", action="store_true", help="print the tables and end")
    return parser.parse_args()


def build_cohort(data: Path, sites: tuple[str, ...], most: int, out: Path) -> Cohort:
    """Gather, audit and clean the sites; keep at most ``most`` photographs of each, at random."""
    if (out / "cohort.csv").is_file():
        return load_cohort(out / "cohort.csv", GRADES)
    rows = []
    for site in sites:
        labels = pd.read_csv(data / site / "labels.csv")
        for row in labels.to_dict("records"):
            name = f"{site}-{Path(row['file']).stem}"
            rows.append(
                {
                    "image": f"{site}/{row['file']}",
                    "patient": f"{site}-{row.get('patient', name)}",
                    "site": site,
                    "label": GRADES[int(row["dr_grade"])],
                    "slide": name,
                }
            )
    cohort = cohort_of(rows, GRADES, data, "labels.csv")
    audit = audit_cohort(cohort)
    clean, report = strict_cohort(cohort, audit)
    report.to_csv(out / "dropped.csv", index=False)
    kinds = pd.Series([finding.kind for finding in audit.findings]).value_counts().to_dict()
    print(f"audit: {kinds}; {len(report)} of {len(cohort.table)} photographs dropped")
    generator = np.random.default_rng(0)
    kept = [
        generator.permutation(part.index.to_numpy())[:most]
        for _, part in clean.table.groupby("site")
    ]
    write_cohort(
        clean.with_table(clean.table.loc[np.sort(np.concatenate(kept))]), out / "cohort.csv"
    )
    return load_cohort(out / "cohort.csv", GRADES)


def tables(results: pd.DataFrame) -> str:
    """Mean over seeds and their standard deviation, at each held-out site."""
    held = results[results["site_role"] == "held_out"]
    seeds = held.groupby(["method", "division"])["seed"].nunique()
    lines = [f"held-out sites; {len(held)} runs, {seeds.min()} to {seeds.max()} seeds of a cell"]
    for figure in FIGURES:
        cells = held.groupby(["method", "site"], sort=False)[figure]
        mean, spread = cells.mean().unstack(), cells.std().unstack()
        shown = mean.map("{:.3f}".format) + spread.map(" ({:.3f})".format)
        lines += [f"\n{figure}: mean over seeds (standard deviation)",
                  shown.assign(mean=mean.mean(axis=1).round(3)).to_string()]  # fmt: skip
    return "\n".join(lines)


def comparison(runs: Path, cells: list[Cell], baseline: str) -> str:
    """Differences from a baseline over the seeds that all methods have, as `offsite compare` has them.

    Intervals (95 %) are of patients and of seeds together: patients are drawn with their images,
    and seeds with Student's stretch for their small number. Sites are those held out.
    """
    done = [cell for cell in cells if (runs / cell.name / "predictions.parquet").is_file()]
    wanted = {(cell.method, cell.held_out) for cell in cells}
    seeds = [seed for seed in sorted({cell.seed for cell in done})
             if {(c.method, c.held_out) for c in done if c.seed == seed} == wanted]  # fmt: skip
    methods = list(dict.fromkeys(cell.method for cell in cells))
    if not seeds or baseline not in methods:
        return f"\nno seed has all runs, so nothing is compared with {baseline}"
    groups = {method: [_of_seed(runs, done, method, seed) for seed in seeds] for method in methods}
    task = TaskSettings(positive_classes=GRADES[REFERABLE:])
    settings = EvaluationSettings.model_validate({"tasks": {"referable": task}})
    table = compare_methods(groups, baseline, settings)
    table = table[table["metric"].isin(COMPARED) & (table["method"] != baseline)]
    table = table[(table["site_role"] == "held_out") & (table["site"] != "_worst")]
    shown = table[["metric", "site", "method", "value", "difference", "difference_low",
                   "difference_high", "n_patients"]].sort_values(["metric", "site"], kind="stable")  # fmt: skip
    return f"\nagainst {baseline}, seeds {seeds}:\n{shown.round(3).to_string(index=False)}"


def _of_seed(runs: Path, done: list[Cell], method: str, seed: int) -> Predictions:
    """A method's predictions of every site, each from the run that never saw it."""
    parts = []
    for cell in done:
        if (cell.method, cell.seed) == (method, seed):
            found = load_predictions(runs / cell.name)
            parts.append(found.select(found.table["site"].isin(cell.held_out).to_numpy()))
    return Predictions.concatenate(parts)


def main() -> None:
    """Run the cells that are missing and print the tables."""
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    cohort = build_cohort(options.data, tuple(options.sites), options.most, options.out)
    divisions = divisions_of("leave_one_site_out", cohort.sites)
    cells = experiment_cells(options.methods, divisions, options.seeds)
    if not options.report:
        run(options, cohort, cells)
    print(tables(pd.read_csv(options.out / "runs" / "results.csv")))
    for baseline in ("erm", "control"):
        print(comparison(options.out / "runs", cells, baseline))


def run(options: argparse.Namespace, cohort: Cohort, cells: list[Cell]) -> None:
    """Prepare the photographs and run the cells that are not finished."""
    preparation = FundusSettings(
        px=options.px, enhancement=options.enhancement, already_cropped=True
    )
    prepared = prepare_cohort(cohort, options.out / "prepared", preparation, workers=1)
    print(prepared.groupby("site")[["gradable"]].agg(["size", "sum"]).to_string())
    settings = RetinaSettings.model_validate(
        {
            "backbone": {
                "name": options.backbone, "width": options.width, "weights": options.weights,
                "split_after": options.split_after,
            },
            "fit": {
                "epochs": options.epochs, "learning_rate": options.learning_rate,
                "select_by": "auc", "mode": "max", "device": options.device,
            },
        }
    )  # fmt: skip
    end = time.monotonic() + 60 * options.minutes
    run_protocol(
        cohort, options.out / "prepared", settings, cells, options.out / "runs",
        splits=SplitSettings(val=0.15, test=0.15),
        progress=lambda done, total, cell: print(done, total, cell.name, flush=True),
        go_on=lambda: time.monotonic() < end,
    )  # fmt: skip


if __name__ == "__main__":
    main()
