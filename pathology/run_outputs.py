"""What a run says of each slide, from what it says of each bag."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from offsite.pathology.inference import BagPrediction
from offsite.pathology.slides_of_run import COLUMNS, SlidesOfRun
from offsite.training.train_run import Answers


def answers_of(
    slides: SlidesOfRun, predictions: Sequence[BagPrediction], pooling: str, facts: dict[str, Any]
) -> Answers:
    """Return the answer of each slide from that of its bag.

    Under ``patient_union`` a patient's slides share one prediction. Under ``patient_late`` the
    probabilities are the mean over the patient's slides, the logits their logarithm (so that
    evaluation sees one and the same answer in both), and the embeddings their mean. What the encoder
    saw is the mean of a bag's tile features.

    An answer is judged by what it answers for: where that is the patient, ``label`` is the
    patient's, and that of the slide is kept as ``slide_label``.
    """
    bag = slides.table["bag"].to_numpy()
    probabilities = np.stack([answer.probabilities for answer in predictions])[bag]
    logits = np.stack([answer.logits for answer in predictions])[bag]
    embeddings = np.stack([answer.embedding for answer in predictions])[bag]
    seen = np.stack([answer.mean_features for answer in predictions])[bag]
    if pooling == "patient_late":
        patients = pd.factorize(slides.table["patient"])[0]
        probabilities = _patient_means(probabilities, patients)
        embeddings = _patient_means(embeddings, patients)
        seen = _patient_means(seen, patients)
        logits = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
    table = slides.table[COLUMNS].copy()
    if pooling != "slide":
        table["slide_label"] = table["label"]
        table["label"] = slides.table["patient_label"]
    return Answers(table, probabilities, logits, embeddings, facts, seen)


def _patient_means(values: np.ndarray, patients: np.ndarray) -> np.ndarray:
    totals = np.zeros((patients.max() + 1, values.shape[1]))
    np.add.at(totals, patients, values)
    return (totals / np.bincount(patients)[:, None])[patients]
