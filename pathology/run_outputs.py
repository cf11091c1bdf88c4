"""What a run says of each slide: predictions, embeddings, logits, and the slides left out."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from offsite.files import replacing
from offsite.pathology.inference import BagPrediction
from offsite.pathology.slides_of_run import COLUMNS, SlidesOfRun
from offsite.training.run_folder import EXCLUDED


def write_predictions(
    folder: Path,
    slides: SlidesOfRun,
    classes: Sequence[str],
    predictions: Sequence[BagPrediction],
    pooling: str,
) -> pd.DataFrame:
    """Write ``predictions.parquet``, ``embeddings.npy`` and ``logits.npy``; a row per slide.

    Under ``patient_union`` a patient's slides share one prediction. Under ``patient_late`` the
    probabilities are the mean over the patient's slides, the logits their logarithm (so that
    evaluation sees one and the same answer in both), and the embeddings their mean.

    An answer is judged by what it answers for: where that is the patient, ``label`` is the
    patient's, and that of the slide is kept as ``slide_label``.
    """
    bag = slides.table["bag"].to_numpy()
    probabilities = np.stack([answer.probabilities for answer in predictions])[bag]
    logits = np.stack([answer.logits for answer in predictions])[bag]
    embeddings = np.stack([answer.embedding for answer in predictions])[bag]
    if pooling == "patient_late":
        patients = pd.factorize(slides.table["patient"])[0]
        probabilities = _patient_means(probabilities, patients)
        embeddings = _patient_means(embeddings, patients)
        logits = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
    table = slides.table[COLUMNS].copy()
    if pooling != "slide":
        table["slide_label"] = table["label"]
        table["label"] = slides.table["patient_label"]
    for number, name in enumerate(classes):
        table[f"prob_{name}"] = probabilities[:, number]
    _save(folder / "embeddings.npy", embeddings.astype(np.float32))
    _save(folder / "logits.npy", logits.astype(np.float32))
    with replacing(folder / "predictions.parquet") as temporary:
        table.to_parquet(temporary, index=False)
    return table


def write_excluded(folder: Path, excluded: pd.DataFrame) -> None:
    """Write ``excluded.csv``: the slides without a prediction or not trained on, and why."""
    with replacing(folder / EXCLUDED) as temporary:
        excluded.to_csv(temporary, index=False, lineterminator="\n")


def _patient_means(values: np.ndarray, patients: np.ndarray) -> np.ndarray:
    totals = np.zeros((patients.max() + 1, values.shape[1]))
    np.add.at(totals, patients, values)
    return (totals / np.bincount(patients)[:, None])[patients]


def _save(path: Path, array: np.ndarray) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)
