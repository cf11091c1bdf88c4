"""How often a page with nothing to find says something against a site: docs/evaluation/alarms.md.

    python benchmarks/evaluation_alarms.py [--pages 250]

Each page is of hospitals that do not differ and of a model whose probabilities are true. Counted is what
the summary would say if every question were asked at its own 5 %, and what it says with all of them as
one family. Takes some minutes on one core; `make slow` runs it.
"""

import argparse
import os
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

from offsite.evaluation.alarms import ALARMS, alarm_table, only_answer
from offsite.evaluation.calibration.table import calibration_tables
from offsite.evaluation.conformal.table import conformal_table
from offsite.evaluation.ood.settings import OodSettings
from offsite.evaluation.ood.table import ood_table
from offsite.evaluation.operating_points.choosing import choose_thresholds
from offsite.evaluation.operating_points.table import operating_point_table
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.settings import ConformalSettings, EvaluationSettings, ShiftSettings
from offsite.evaluation.shift import covariate, performance, prevalence
from offsite.evaluation.shift.sides import Material, comparisons
from offsite.evaluation.statistics.estimates import FEW_PATIENTS
from offsite.evaluation.statistics.sites import Sites
from offsite.evaluation.tables.per_site import confusion_table
from offsite.evaluation.tables.schemas import SCHEMAS

PAGE = Path(__file__).parents[1] / "docs" / "evaluation" / "alarms.md"
CLASSES = ("none", "mild", "severe")
PRIOR = (0.6, 0.25, 0.15)
# Test patients of each site; those of training sites have as many validation and twice as many
# training patients.
SITES = {
    "training": {"a": 150, "b": 120, "c": 100, "d": 80, "e": 60},
    "held_out": {"f": 200, "g": 120, "h": 60, "i": 40, "j": 25},
}
METRICS = EvaluationSettings.model_validate(
    {
        "tasks": {"ill": {"positive_classes": ["severe"]}},
        "resamples": 100,
        "calibration_simulations": 50,
    }
)
OOD = OodSettings(detectors=("mahalanobis",), resamples=50)
SETS = ConformalSettings(levels=(0.9,), weighted=False)
SHIFT = ShiftSettings(permutations=199, resamples=50, max_rows=150)


def predictions(seed: int, images: int) -> Predictions:
    """Ten hospitals alike; a patient has some images of one grade."""
    rng = np.random.default_rng([seed, images])
    parts = []
    for role, sites in SITES.items():
        for site, size in sites.items():
            splits = {"train": 2 * size, "val": size} if role == "training" else {}
            for split, n in (splits | {"test": size}).items():
                truth = rng.choice(3, n, p=PRIOR).repeat(images)
                patients = [f"{split}-{index}" for index in range(n) for _ in range(images)]
                parts.append(
                    pd.DataFrame({"patient": patients, "site": site, "site_role": role})
                    .assign(split=split, number=truth)
                )  # fmt: skip
    table = pd.concat(parts, ignore_index=True)
    labels = table.pop("number").to_numpy(np.int64)
    features = 1.6 * np.eye(4)[labels] + rng.normal(size=(len(labels), 4))
    logits = features @ (1.6 * np.eye(4)[:3]).T + np.log(PRIOR)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    table["image"] = [f"{row}.png" for row in range(len(table))]
    table["label"] = np.array(CLASSES)[labels]
    return Predictions(
        table=table,
        classes=CLASSES,
        probabilities=odds / odds.sum(axis=1, keepdims=True),
        labels=labels,
        embeddings=features,
        logits=logits,
    )


def tables_of(rows: Predictions) -> dict[str, pd.DataFrame]:
    """The tables that hold questions, without the rest of an evaluation."""
    sites = Sites.of(rows, METRICS)
    pairs = comparisons(Material(sites, SHIFT))
    heads = [
        row
        for pair in pairs
        for row in (
            covariate.mmd_row(pair),
            prevalence.prior_row(pair, prevalence.Priors(pair)),
            performance.auroc_change_row(pair),
        )
    ]
    point = [cut for cut in choose_thresholds(sites) if cut.rule == "point"]
    tables = {
        "per_site": SCHEMAS["per_site"].frame(
            site.place | {"n_patients": site.n_patients} for site in sites.single
        ),
        "confusion": confusion_table(sites),
        "calibration": calibration_tables(sites, calibrators={})["calibration"],
        "operating_points": operating_point_table(sites, point),
        "ood": ood_table(sites, OOD),
        "conformal": conformal_table(sites, SETS),
        "shift": SCHEMAS["shift"].frame(heads),
    }
    return tables | {"alarms": alarm_table(tables, METRICS.alarm_level)}


def each_by_itself(tables: dict[str, pd.DataFrame]) -> set[str]:
    """What would be said were every question asked at its own 5 %."""
    sizes = tables["per_site"].groupby("site")["n_patients"].max()

    def rows(name: str, firm: bool = True, **wanted: object) -> pd.DataFrame:
        table = tables[name]
        for column, value in wanted.items():
            table = table[table[column] == value]
        table = table[~table["site"].str.startswith("_")]
        return table[table["site"].map(sizes) >= FEW_PATIENTS] if firm else table

    plain = {"task": "ill", "calibrator": "none"}
    chosen = tables["operating_points"]
    chosen = chosen[(chosen["site"] == "_chosen") & (chosen["rule"] == "point")]
    promised = float(chosen.loc[chosen["metric"] == "specificity", "value"].iloc[0])
    intercepts = rows("calibration", metric="intercept", **plain)
    sets = rows("conformal", firm=False, label="_all", level=0.9, weighted=False)
    shift = {
        kind: rows("shift", firm=False, kind=kind, site_role="held_out")
        for kind in ("covariate", "prevalence", "performance")
    }
    flags = rows("ood", firm=False, metric="flag_rate", category="covariate_shifted")
    gaps = rows("operating_points", metric="transfer_gap", rule="point")
    specificity = rows("operating_points", metric="specificity", rule="point")
    said = {
        "too_sure": rows("calibration", metric="slope", **plain)["high"] < 1,
        "at_large": (intercepts["low"] > 0) | (intercepts["high"] < 0),
        "missed": gaps["low"] > 0,
        "over_referral": specificity["high"] < promised,
        "sets": sets["high"] < 0.9,
        "foreign": flags["low"] > 0.1,
        "images": shift["covariate"]["p_value"] <= 0.05 / len(shift["covariate"]),
        "case_mix": shift["prevalence"]["p_value"] <= 0.05 / len(shift["prevalence"]),
        "performance": shift["performance"]["high"] < 0,
        "one_answer": pd.Series(
            [only_answer(part) is not None for _, part in rows("confusion").groupby("site")]
        ),
    }
    return {alarm for alarm, found in said.items() if found.any()}


def counted(pages: int, images: int, first: int = 0) -> tuple[Counter[str], Counter[str]]:
    """Pages that say each thing, before and after; ``any`` counts those that say something."""
    before: Counter[str] = Counter()
    after: Counter[str] = Counter()
    for seed in range(first, first + pages):
        tables = tables_of(predictions(seed, images))
        raised = tables["alarms"].loc[tables["alarms"]["raised"].astype(bool), "alarm"]
        for found, counter in ((each_by_itself(tables), before), (set(raised), after)):
            counter.update(found | ({"any"} if found else set()))
    return before, after


def written(pages: int, found: dict[int, tuple[Counter[str], Counter[str]]], seconds: float) -> str:
    """The page as Markdown."""
    lines = [
        "# False alarms",
        "",
        f"Made by `python benchmarks/evaluation_alarms.py` ({pages} pages of each kind, "
        f"{seconds / 60:.0f} min on one core). Ten hospitals that do not differ (five of them held out; "
        "25 to 200 test patients), a model whose probabilities are true, three grades, one task, images "
        "one or three to a patient. Share of pages whose summary accuses some site, in per cent. "
        "**Apart**: every question at its own 5 %, as the page once did. **Together**: all questions as one "
        "family by Holm (`alarms.csv`), which should stay under 5 % in the last row.",
        "",
        "| what is said | apart, 1 image | together, 1 image | apart, 3 images | together, 3 images |",
        "|---|---:|---:|---:|---:|",
    ]
    for alarm, words in {**ALARMS, "any": "**any of these**"}.items():
        cells = [
            f"{100 * counter[alarm] / pages:.1f}" for pair in found.values() for counter in pair
        ]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    error = 100 * np.sqrt(0.05 * 0.95 / pages)
    lines += ["", f"The standard error of a share of 5 % is {error:.1f} %.", ""]
    return "\n".join(lines)


def main() -> None:
    """Count, print and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=250)
    arguments = parser.parse_args()
    start = time.process_time()
    found = {images: counted(arguments.pages, images) for images in (1, 3)}
    text = written(arguments.pages, found, time.process_time() - start)
    PAGE.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
