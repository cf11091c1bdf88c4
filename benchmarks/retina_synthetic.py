"""What domain generalisation can mend, on synthetic photographs where the cause is known.

    python benchmarks/retina_synthetic.py --out FOLDER [--scenario style prevalence grader]
        [--methods erm control deco] [--seeds 0 1 2 3 4]

Four training hospitals and a new one; a seed draws new patients, first weights and batches.

style       Each training hospital has one camera and one stage of disease (a screening service
            sees the healthy, an eye clinic the late), so the camera's colours foretell the grade.
            The new hospital uses all these cameras, whatever the stage.
prevalence  One camera; the training hospitals see few, the new one many severe cases.
grader      One camera and prevalence; the new hospital's grader grades one too low in half.

Prints, for the new hospital, each method's figures and paired differences over seeds (Student
intervals), with and without correction of the prior (Saerens et al. 2002: unlabelled photographs of
the new hospital tell its prevalence, which is transductive and no generalisation).
"""

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from scipy import stats

from preprocessing.cohort import Cohort, load_cohort
from preprocessing.fundus.cohort import prepare_cohort
from preprocessing.fundus.photograph import FundusSettings
from preprocessing.splits import SplitSettings, split_cohort
from preprocessing.synthetic.fundus import SyntheticFundusSettings, make_fundus_cohort
from preprocessing.synthetic.fundus_sites import GRADES, CameraProfile, ClinicProfile
from retina.results import site_results
from retina.training import RetinaSettings, train_retina

NEW = "new"
CAMERAS = (
    CameraProfile(),
    CameraProfile(tint=(1.05, 0.95, 0.65), gamma=0.85),
    CameraProfile(tint=(0.85, 0.97, 1.15), gamma=1.25),
    CameraProfile(tint=(0.88, 1.08, 0.85), contrast=1.2),
)
EVEN = (0.2, 0.2, 0.2, 0.2, 0.2)
STAGES = (
    (0.70, 0.24, 0.04, 0.01, 0.01),
    (0.01, 0.01, 0.04, 0.24, 0.70),
    (0.24, 0.70, 0.04, 0.01, 0.01),
    (0.01, 0.04, 0.45, 0.45, 0.05),
)
FEW_SEVERE = (0.50, 0.20, 0.18, 0.07, 0.05)
MANY_SEVERE = (0.05, 0.08, 0.22, 0.30, 0.35)


@dataclass(frozen=True)
class Options:
    """Sizes of a trial."""

    patients: int
    px: int
    epochs: int
    learning_rate: float
    split_after: int


def clinics(scenario: str) -> tuple[ClinicProfile, ...]:
    """Return four training clinics and the parts of the new one, named ``new-...``."""
    if scenario == "style":
        return tuple(
            ClinicProfile(name=f"site-{n}", camera=CAMERAS[n], prevalence=STAGES[n])
            for n in range(4)
        ) + tuple(
            ClinicProfile(name=f"{NEW}-{n}", camera=CAMERAS[n], prevalence=EVEN) for n in range(4)
        )
    prevalence = FEW_SEVERE if scenario == "prevalence" else EVEN
    there = MANY_SEVERE if scenario == "prevalence" else EVEN
    low = 0.5 if scenario == "grader" else 0.0
    return (
        *(ClinicProfile(name=f"site-{n}", prevalence=prevalence) for n in range(4)),
        ClinicProfile(name=f"{NEW}-0", prevalence=there, undergrades=low),
    )


def make_cohort(scenario: str, seed: int, options: Options, out: Path) -> tuple[Cohort, Path]:
    """Draw and prepare a cohort; the parts of the new hospital become one site."""
    root = out / scenario / f"cohort-{seed}"
    settings = SyntheticFundusSettings(
        clinics=clinics(scenario), patients_per_site=options.patients, eyes=(1, 1),
        px=2 * options.px, seed=seed,
    )  # fmt: skip
    cohort = load_cohort(make_fundus_cohort(root, settings, workers=1), GRADES)
    prepare_cohort(cohort, root / "prepared", FundusSettings(px=options.px), workers=1)
    table = cohort.table.copy()
    table["site"] = table["site"].where(~table["site"].str.startswith(NEW), NEW)
    return cohort.with_table(table), root / "prepared"


def trial(scenario: str, seed: int, method: str, options: Options, out: Path) -> list[dict]:
    """Train one method on one cohort; return the figures of the new hospital, raw and corrected."""
    cohort, prepared = make_cohort(scenario, seed, options, out)
    split = split_cohort(
        cohort, SplitSettings(held_out_sites=(NEW,), val=0.15, test=0.1, seed=seed)
    )
    settings = RetinaSettings.model_validate(
        {
            "method": method,
            "augmentation": "geometry",
            "backbone": {"width": 8, "split_after": options.split_after},
            "batch_size": 16,
            "fit": {
                "epochs": options.epochs, "learning_rate": options.learning_rate, "seed": seed,
                "select_by": "auc", "mode": "max", "device": "cpu",
            },
        }
    )  # fmt: skip
    predictions = train_retina(split, prepared, settings, out / scenario / f"{method}-{seed}")
    rows = []
    for name, table in (("raw", predictions), ("prior corrected", corrected(predictions))):
        figures = site_results(table, GRADES)
        held = figures[figures["site"] == NEW].iloc[0]
        rows.append({"scenario": scenario, "method": method, "seed": seed, "prior": name,
                     **held[["auc", "kappa", "referable_auc", "accuracy"]].to_dict()})  # fmt: skip
    return rows


def corrected(predictions: pd.DataFrame) -> pd.DataFrame:
    """Fit the new hospital's prior by EM on its unlabelled photographs, and apply it."""
    columns = [f"prob_{name}" for name in GRADES]
    train = predictions[predictions["split"] == "train"]
    source = train["label"].value_counts(normalize=True).reindex(GRADES).to_numpy()
    rows = (predictions["site"] == NEW).to_numpy()
    given = predictions.loc[rows, columns].to_numpy(np.float64)
    prior = source.copy()
    for _ in range(200):
        posterior = given * (prior / source)
        posterior /= posterior.sum(axis=1, keepdims=True)
        prior = posterior.mean(axis=0)
    table = predictions.copy()
    table.loc[rows, columns] = posterior
    return table


def differences(results: pd.DataFrame, figure: str, one: str, other: str) -> str:
    """Mean paired difference over seeds with its 95 % Student interval."""
    grid = results.pivot_table(index="seed", columns="method", values=figure)
    delta = (grid[one] - grid[other]).dropna()
    text = f"{figure:>13}  {one} - {other}: {delta.mean():+.3f}"
    if len(delta) > 1:
        half = stats.t.ppf(0.975, len(delta) - 1) * delta.std(ddof=1) / np.sqrt(len(delta))
        text += f"  [{delta.mean() - half:+.3f}, {delta.mean() + half:+.3f}]  ({len(delta)} seeds)"
    return text


def report(results: pd.DataFrame) -> None:
    """Print the tables of a scenario."""
    for (scenario, prior), part in results.groupby(["scenario", "prior"], sort=False):
        print(f"\n{scenario}, {prior}: new hospital, mean over seeds (standard deviation)")
        mean = part.groupby("method", sort=False)[["auc", "kappa", "referable_auc", "accuracy"]]
        print((mean.mean().round(3).astype(str) + " (" + mean.std().round(3).astype(str) + ")")
              .to_string())  # fmt: skip
        for one in part["method"].unique():
            for other in ("erm", "control"):
                if one != other and other in set(part["method"]) and one != "erm":
                    for figure in ("auc", "kappa"):
                        print(differences(part, figure, one, other))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scenario", nargs="+", default=["style"],
                        choices=["style", "prevalence", "grader"])  # fmt: skip
    parser.add_argument("--methods", nargs="+", default=["erm", "control", "deco", "swap", "tally"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--patients", type=int, default=60)
    parser.add_argument("--px", type=int, default=48)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--split-after", type=int, default=1, help="stage whose style is mixed")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    given = parser.parse_args()
    options = Options(
        given.patients, given.px, given.epochs, given.learning_rate, given.split_after
    )
    rows: list[dict] = []
    end = time.monotonic() + 60 * given.minutes
    for seed in given.seeds:
        for scenario in given.scenario:
            for method in given.methods:
                if time.monotonic() > end:
                    break
                rows += trial(scenario, seed, method, options, given.out)
                print(f"{scenario} {method} seed {seed}", flush=True)
                pd.DataFrame(rows).to_csv(given.out / "results.csv", index=False)
    report(pd.DataFrame(rows))


if __name__ == "__main__":
    main()
