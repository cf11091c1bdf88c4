"""A finished run on disk, as training leaves it, without the training."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

from offsite.files import write_json
from offsite.training.run_folder import RunFolder
from offsite.workflows.jobs.configuration import configuration_model
from offsite.workflows.stages.training import CELL, CONFIGURATION

CLASSES = ("low", "middle", "high")
SITES = {"north": "training", "south": "held_out"}


def write_run(folder: Path, strength: float, **more: Any) -> Path:
    """Write a run whose model holds the classes ``strength`` apart; another one is replaced.

    ``more`` are settings of the job, such as ``decision``.
    """
    run = RunFolder(folder)
    run.begin({"settings": {"strength": strength}})
    predictions(strength).to_parquet(folder / "predictions.parquet", index=False)
    pd.DataFrame(columns=["image", "site", "status", "code"]).to_csv(
        folder / "excluded.csv", index=False
    )
    save_file({"a": np.full(3, strength, np.float32)}, folder / "weights.safetensors")
    (folder / "curves.jsonl").write_text('{"epoch": 0, "train/loss": 1.0}\n')
    write_cell(folder, **more)
    run.finish(architecture={"name": "sc_mil"})
    return folder


def write_cell(folder: Path, **more: Any) -> None:
    """Write what says of which job the run is, as every `offsite train` does."""
    settings: dict[str, Any] = {
        "task": "pathology", "cohort": "cohort.csv", "classes": CLASSES,
        "evaluation": {"parts": [], "metrics": {"resamples": 100}},
    }  # fmt: skip
    chosen = configuration_model("pathology").model_validate(settings | more)
    write_json(folder / CONFIGURATION, chosen.model_dump(mode="json"))
    write_json(
        folder / CELL,
        {"method": "sc_mil", "held_out": ["south"], "seed": 0, "name": "sc_mil/without-south",
         "configuration": str(folder / "job.yaml")},
    )  # fmt: skip


def predictions(strength: float) -> pd.DataFrame:
    """Ninety images of each split and site; the noise is the same whatever the strength."""
    rng = np.random.default_rng(0)
    tables = []
    for site, role in SITES.items():
        for split in ("train", "val", "test") if role == "training" else ("test",):
            labels = np.arange(90) % 3
            logits = rng.normal(size=(90, 3))
            logits[np.arange(90), labels] += strength
            shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            table = pd.DataFrame(shares, columns=[f"prob_{name}" for name in CLASSES])
            names = [f"{site}-{split}-{number}" for number in range(90)]
            tables.append(
                table.assign(
                    image=[f"{name}.svs" for name in names], patient=names, site=site,
                    site_role=role, split=split, label=[CLASSES[label] for label in labels],
                )
            )  # fmt: skip
    return pd.concat(tables, ignore_index=True)
