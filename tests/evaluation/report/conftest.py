"""An evaluation of hostile names and hard sites, made once."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from offsite.evaluation.evaluating import Evaluation, evaluate
from offsite.evaluation.predictions.table import Predictions
from offsite.evaluation.report.settings import ReportSettings

SCRIPT = "<script>document.title='stolen'</script>"
BREAKOUT = '"><img src=x onerror="document.title=1">'
CLASSES = ("no disease", "<b>mild</b>", "severe & worse")
SITES = {  # name: (role, patients, how far the site is from the others)
    "Utrecht": ("training", 105, 0.0),
    f"Leuven {SCRIPT}": ("training", 96, 0.2),
    f"Delft {BREAKOUT}": ("held_out", 50, 1.0),
    "$\\alpha$ & Söhne": ("held_out", 40, 0.6),
    "Twelve": ("held_out", 12, 0.4),
    "One class": ("held_out", 40, 0.4),
    "No labels": ("held_out", 40, 0.4),
}


@pytest.fixture(scope="session")
def hard_predictions() -> Predictions:
    generator = np.random.default_rng(5)
    parts, logits = [], []
    for site, (role, patients, far) in SITES.items():
        n = 2 * patients
        truth = generator.integers(0, 3, n)
        truth[: 3 if site != "One class" else 0] = [0, 1, 2][: 3 if site != "One class" else 0]
        truth = np.zeros(n, dtype=int) if site == "One class" else truth
        score = generator.normal(size=(n, 3)) + 2.0 / (1 + far) * np.eye(3)[truth]
        split = np.array(["train", "val", "test"])[np.arange(n) // 2 % 3]
        label = np.array(CLASSES)[truth]
        parts.append(
            pd.DataFrame(
                {
                    "image": [f"{i}.png" for i in range(n)],
                    "patient": [f"{SCRIPT} {site} {i // 2}" for i in range(n)],
                    "site": site,
                    "site_role": role,
                    "split": split if role == "training" else "test",
                    "label": "" if site == "No labels" else label,
                }
            )
        )
        logits.append(score + far)
    table, score = pd.concat(parts, ignore_index=True), np.concatenate(logits)
    probabilities = np.exp(score) / np.exp(score).sum(axis=1, keepdims=True)
    labels = table["label"].map({name: place for place, name in enumerate(CLASSES)} | {"": -1})
    return Predictions(
        table=table,
        classes=CLASSES,
        probabilities=probabilities,
        labels=labels.to_numpy(np.int64),
        embeddings=np.hstack([score, generator.normal(size=(len(score), 5))]),
        logits=score,
    )


@pytest.fixture(scope="session")
def report_settings() -> ReportSettings:
    return ReportSettings.model_validate(
        {
            "title": f"Grading {SCRIPT}",
            "limits": [f"Labels by one reader {BREAKOUT}"],
            "metrics": {
                "resamples": 100,
                "calibration_simulations": 50,
                "tasks": {f"ill {BREAKOUT}": {"positive_classes": list(CLASSES[1:])}},
            },
            "ood": {"resamples": 50, "detectors": ["mahalanobis", "msp"]},
            "shift": {"resamples": 50, "permutations": 99},
        }
    )


@pytest.fixture(scope="session")
def evaluation(
    hard_predictions: Predictions,
    report_settings: ReportSettings,
    tmp_path_factory: pytest.TempPathFactory,
) -> Evaluation:
    flow = pd.DataFrame(
        [("tiling", "Utrecht", "kept", "", 60), ("tiling", "Utrecht", "excluded", SCRIPT, 3)],
        columns=["stage", "site", "outcome", "reason", "n"],
    )
    return evaluate(
        hard_predictions,
        tmp_path_factory.mktemp("evaluated") / "evaluation",
        report_settings,
        facts={"model": {"name": SCRIPT}},
        extra_tables={"cohort_flow": flow},
    )


@pytest.fixture(scope="session")
def page(evaluation: Evaluation) -> str:
    return Path(evaluation.report).read_text(encoding="utf-8")
