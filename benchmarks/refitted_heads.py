"""Any run's last layer refitted with a few local cases, as ``offsite site calibrate --refit`` does it."""

from pathlib import Path

import numpy as np
from patient_intervals import Judged

from offsite.evaluation.predictions.table import load_predictions
from offsite.retina.linear.settings import LinearSettings
from offsite.training.heads.refit import refit
from offsite.training.heads.sums import RowSums, fit_grades


def refitted_runs(
    folder: Path, cases: tuple[int, ...], draws: int, referable: int
) -> dict[int, list[Judged]]:
    """Return what refitted heads say of the site left out, by the number of local patients.

    The head is a linear grade of the run's embeddings: its sums are those of the training
    photographs, its penalty the one with the least squared error on the validation photographs. The
    local patients of a draw do not judge.
    """
    predictions = load_predictions(folder)
    table, labels = predictions.table, predictions.labels
    assert predictions.embeddings is not None
    rows, classes = predictions.embeddings.astype(float), len(predictions.classes)
    training = (table["site_role"] == "training").to_numpy() & (labels >= 0)
    train, val = (training & (table["split"] == part).to_numpy() for part in ("train", "val"))
    sums = RowSums.of(rows[train], labels[train], np.ones(int(train.sum())), classes)
    penalties = LinearSettings().penalties
    errors = [
        np.square(rows[val] @ slope + start - labels[val]).mean()
        for slope, start in fit_grades(sums, penalties)
    ]
    penalty = penalties[int(np.argmin(errors))]
    here = (table["site"] == folder.parts[-2].removeprefix("without-")).to_numpy() & (labels >= 0)
    patients = table["patient"].to_numpy(str)[here]
    found: dict[int, list[Judged]] = {}
    for number in cases:
        for draw in range(draws):
            names = np.random.default_rng([draw, number]).permutation(np.unique(patients))
            local = np.isin(patients, names[:number])
            new = refit(
                sums, rows[here][local], labels[here][local], patients[local],
                penalty=penalty, seed=draw,
            )  # fmt: skip
            logits = new.head.logits(rows[here])
            powers = np.exp(logits - logits.max(axis=1, keepdims=True))
            scores = powers[:, referable:].sum(axis=1) / powers.sum(axis=1)
            run = Judged(folder.name, scores, logits.argmax(1), labels[here], patients, ~local)
            found.setdefault(number, []).append(run)
    return found
