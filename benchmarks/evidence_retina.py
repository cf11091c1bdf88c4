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

from preprocessing.audit import audit_cohort
from preprocessing.cohort import Cohort, load_cohort
from preprocessing.fundus.cohort import prepare_cohort
from preprocessing.fundus.photograph import FundusSettings
from preprocessing.readers.building import GRADES, cohort_of, write_cohort
from preprocessing.splits import SplitSettings
from preprocessing.strict_splits import strict_cohort
from retina.protocols import protocol_cells, run_protocol
from retina.training import RetinaSettings

SITES = ("dr_idrid", "dr_messidor2", "dr_aptos_filtered")
METHODS = ("erm", "control", "mixstyle", "coral", "gdrnet", "tally", "deco")
FIGURES = ("auc", "kappa", "referable_auc", "vision_threatening_auc", "accuracy", "macro_f1",
           "sensitivity", "specificity")  # fmt: skip


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sites", nargs="+", default=SITES)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--most", type=int, default=1000, help="photographs of a site at most")
    parser.add_argument("--px", type=int, default=64)
    parser.add_argument("--enhancement", choices=["none", "graham", "clahe"], default="graham")
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
    """Mean over seeds, its standard deviation, and paired differences from ERM."""
    held = results[results["site_role"] == "held_out"]
    lines = [f"{held.groupby(['method', 'fold']).ngroups} method x site cells,"
             f" seeds {sorted(held['seed'].unique().tolist())}"]  # fmt: skip
    for figure in FIGURES:
        grid = held.pivot_table(index="method", columns="fold", values=figure, sort=False)
        spread = held.pivot_table(
            index="method", columns="fold", values=figure, sort=False, aggfunc="std"
        )
        lines.append(f"\n{figure}: mean over seeds (standard deviation)")
        shown = grid.round(3).astype(str)
        if not spread.empty:
            shown = shown + " (" + spread.reindex_like(grid).round(3).astype(str) + ")"
        lines.append(shown.assign(mean=grid.mean(axis=1).round(3)).to_string())
    for figure in ("referable_auc", "auc", "kappa"):
        lines.append(f"\n{figure}: difference from ERM over fold x seed, 95 % interval (t)")
        lines.append(differences(held, figure, "erm").to_string(index=False))
    return "\n".join(lines)


def differences(held: pd.DataFrame, figure: str, reference: str) -> pd.DataFrame:
    """Paired differences over (fold, seed): mean and Student interval; few pairs, wide interval."""
    from scipy import stats

    grid = held.pivot_table(index=["fold", "seed"], columns="method", values=figure)
    rows = []
    for method in grid.columns.drop(reference, errors="ignore"):
        delta = (grid[method] - grid[reference]).dropna()
        half = np.nan
        if len(delta) > 1:
            half = stats.t.ppf(0.975, len(delta) - 1) * delta.std(ddof=1) / np.sqrt(len(delta))
        rows.append((method, len(delta), delta.mean(), delta.mean() - half, delta.mean() + half))
    table = pd.DataFrame(rows, columns=["method", "pairs", "difference", "low", "high"])
    return table.round(3)


def main() -> None:
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.report:
        print(tables(pd.read_csv(options.out / "runs" / "results.csv")))
        return
    cohort = build_cohort(options.data, tuple(options.sites), options.most, options.out)
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
    cells = protocol_cells("leave_one_site_out", cohort.sites, options.methods, options.seeds)
    end = time.monotonic() + 60 * options.minutes
    results = run_protocol(
        cohort, options.out / "prepared", settings, cells, options.out / "runs",
        splits=SplitSettings(val=0.15, test=0.15),
        progress=lambda done, total, cell: print(done, total, cell.name, flush=True),
        go_on=lambda: time.monotonic() < end,
    )  # fmt: skip
    print(tables(results))


if __name__ == "__main__":
    main()
