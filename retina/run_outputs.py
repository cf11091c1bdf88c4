"""What a run of photographs writes beside its weights."""

from pathlib import Path
from typing import Any

import numpy as np

from offsite.files import replacing, write_json
from offsite.preprocessing.cohort.table import Cohort
from offsite.retina.inference import Graded
from offsite.retina.photographs.of_run import RunPhotographs
from offsite.retina.settings import RetinaSettings
from offsite.training.run_folder import EXCLUDED


def write_beginning(
    folder: Path, settings: RetinaSettings, photographs: RunPhotographs, cohort: Cohort
) -> None:
    """Write what a run is made from: ``settings.json``, ``splits.parquet``, ``excluded.csv``."""
    write_json(folder / "settings.json", settings.model_dump(mode="json"))
    columns = ["image", "slide", "patient", "site", "site_role", "split", "label"]
    with replacing(folder / "splits.parquet") as temporary:
        cohort.table[columns].to_parquet(temporary, index=False)
    with replacing(folder / EXCLUDED) as temporary:
        photographs.excluded.to_csv(temporary, index=False, lineterminator="\n")


def write_predictions(
    folder: Path, photographs: RunPhotographs, classes: tuple[str, ...], graded: Graded
) -> None:
    """Write ``predictions.parquet`` with its embeddings and logits."""
    table = photographs.table.copy()
    for number, name in enumerate(classes):
        table[f"prob_{name}"] = graded.probabilities[:, number]
    for name, array in (("embeddings.npy", graded.embeddings), ("logits.npy", graded.logits)):
        with replacing(folder / name) as temporary, temporary.open("wb") as file:
            np.save(file, array.astype(np.float32), allow_pickle=False)
    with replacing(folder / "predictions.parquet") as temporary:
        table.to_parquet(temporary, index=False)


def facts_of(
    photographs: RunPhotographs, architecture: dict[str, Any], result: dict[str, Any]
) -> dict[str, Any]:
    """Return what a finished run tells of itself, JSON-able."""
    rows = photographs.rows("train")
    return {
        "architecture": architecture,
        "preparation": photographs.prepared.model_dump(mode="json"),
        "training_sites": list(photographs.training_sites),
        "training_photographs": np.bincount(
            photographs.labels[rows], minlength=architecture["n_classes"]
        ).tolist(),
        "selected_epoch": result["epoch"],
        "selected_because": result["reason"],
        "selection_score": result["score"],
        "epochs": result["epochs"],
        "photographs_predicted": len(photographs.table),
        "photographs_excluded": len(photographs.excluded),
    }
