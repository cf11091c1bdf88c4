"""What domain generalisation can mend, on synthetic photographs where the cause is known.

    python benchmarks/retina_synthetic.py --out FOLDER [--scenario style prevalence grader]
        [--methods erm control deco] [--seeds 0 1 2 3 4]

Four training hospitals and a new one; a seed draws new patients, first weights and batches.

style       Each training hospital has one camera and one stage of disease (a screening service
            sees the healthy, an eye clinic the late), so the camera's colours foretell the grade.
            The new hospital uses the same cameras the other way round: the one of the healthy
            where late disease is seen, and so on.
prevalence  One camera; the training hospitals see few, the new one many severe cases.
grader      One camera and prevalence; the new hospital's grader grades one too low in half.

The last epoch's weights are taken: the validation photographs share what misleads, so selection by
them would favour it, and they are few.

Prints, for the new hospital, each method's figures and paired differences over seeds (Student
intervals), raw and with the prior corrected: probabilities are calibrated on the training sites'
validation photographs, and unlabelled photographs of the new hospital tell its prevalence by EM
(Saerens et al. 2002; Alexandari et al. 2020), which is transductive and no generalisation.
"""

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from retina_results import site_results
from scipy import stats

from offsite.evaluation.shift.label_shift import BiasCorrectedTemperature, em_prior, prior_corrected
from offsite.preprocessing.cohort.splits import SplitSettings, split_cohort
from offsite.preprocessing.cohort.table import Cohort, load_cohort
from offsite.preprocessing.fundus.cohort import prepare_cohort
from offsite.preprocessing.fundus.photograph import FundusSettings
from offsite.preprocessing.synthetic.fundus.cohort import (
    SyntheticFundusSettings,
    make_fundus_cohort,
)
from offsite.preprocessing.synthetic.fundus.sites import GRADES, CameraProfile, ClinicProfile
from offsite.retina.settings import RetinaSettings
from offsite.retina.training import train_retina

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
OTHER_WAY_ROUND = (1, 0, 3, 2)
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
            ClinicProfile(name=f"{NEW}-{n}", camera=CAMERAS[n], prevalence=STAGES[other])
            for n, other in enumerate(OTHER_WAY_ROUND)
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
                "select_by": "auc", "mode": "max", "select_after": 1.0, "device": "cpu",
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
    """Calibrate on validation photographs, and fit the new hospital's prior to its unlabelled ones."""
    columns = [f"prob_{name}" for name in GRADES]
    labels = predictions["label"].map({name: number for number, name in enumerate(GRADES)})
    given = predictions[columns].to_numpy(np.float64)
    val, new = ((predictions[name] == value).to_numpy()
                for name, value in (("split", "val"), ("site", NEW)))  # fmt: skip
    calibrated = BiasCorrectedTemperature.fit(given[val], labels[val].to_numpy(np.int64))(given)
    train = labels[predictions["split"] == "train"]
    source = np.bincount(train, minlength=len(GRADES)) / len(train)
    # One photograph more of each class: EM on few photographs leaves classes out altogether.
    counts = em_prior(calibrated[new], source) * new.sum() + 1
    table = predictions.copy()
    table.loc[new, columns] = prior_corrected(calibrated[new], source, counts / counts.sum())
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
    for scenario, part in results.groupby("scenario", sort=False):
        print(f"\n{scenario}: prior corrected - raw")
        for method, own in part.groupby("method", sort=False):
            own = own.assign(method=own["prior"])
            for figure in ("kappa", "accuracy"):
                print(f"{method:>10}", differences(own, figure, "prior corrected", "raw"))


def main() -> None:
    """Run the trials and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scenario", nargs="+", default=["style"],
                        choices=["style", "prevalence", "grader"])  # fmt: skip
    parser.add_argument("--methods", nargs="+", default=["erm", "control", "deco"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--patients", type=int, default=60)
    parser.add_argument("--px", type=int, default=48)
    parser.add_argument("--epochs", type=int, default=25)
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
