"""One run, whatever its items are: from a divided cohort to weights and a table of predictions."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from offsite.files import digest_of, replacing, write_json
from offsite.settings import Settings
from offsite.training.algorithm import Algorithm
from offsite.training.devices import distributed
from offsite.training.fit.loop import Validate, fit
from offsite.training.fit.result import FitResult
from offsite.training.fit.selection import classes_not_validated, patients_by_class
from offsite.training.fit.settings import FitSettings
from offsite.training.geometry import geometry_of_splits, weak_classes
from offsite.training.losses.configured import ClassificationLoss
from offsite.training.run_folder import EXCLUDED, RunFolder
from offsite.training.samplers.plans import PlannedSource
from offsite.training.samplers.report import write_draws

_PREDICTIONS = "predictions.parquet"
_DIVISION = ["image", "slide", "patient", "site", "site_role", "split", "label"]


@dataclass(frozen=True)
class Answers:
    """What the selected weights say of every image of a run.

    Attributes
    ----------
    table : pandas.DataFrame
        A row per image, in the order of the cohort: all of docs/architecture.md, "Predictions",
        but the probabilities.
    probabilities, logits : numpy.ndarray
        N x C.
    embeddings : numpy.ndarray
        N x E.
    facts : dict
        JSON-able: ``architecture`` and whatever else ``run.json`` is to tell.
    trunk : numpy.ndarray or None
        N x T: what the pretrained part saw (a trunk's statistics, a slide's mean tile features),
        where that is not the embedding.
    """

    table: pd.DataFrame
    probabilities: np.ndarray
    logits: np.ndarray
    embeddings: np.ndarray
    facts: dict[str, Any]
    trunk: np.ndarray | None = None


class RunItems(Protocol):
    """What a modality brings to a run: its items, how it trains on them, what it then answers.

    Attributes
    ----------
    task : str
        Name of the modality.
    version : int
        Goes up when the same inputs would give another run.
    settings : Settings
        Of the training, written to ``settings.json``.
    cohort : pandas.DataFrame
        The divided cohort's rows.
    classes : tuple of str
    excluded : pandas.DataFrame
        Images without a prediction or not trained on, with ``status, code, message``.
    """

    task: str
    version: int
    cohort: pd.DataFrame
    classes: tuple[str, ...]
    excluded: pd.DataFrame

    @property
    def settings(self) -> Settings:
        """The settings of the training."""

    def inputs(self) -> dict[str, Any]:
        """Return ``settings`` as far as the result depends on them, and digests of the items."""

    def training_labels(self) -> np.ndarray:
        """Return the class of each item to train on (int64), as the batch plan numbers them."""

    def validation_labels(self) -> np.ndarray:
        """Return the class of each item that weights are selected by (int64)."""

    def validation_patients(self) -> Sequence[str]:
        """Return whose each item is that weights are selected by."""

    def fit(self, folder: Path, fingerprint: str) -> FitResult:
        """Train in ``folder``, or go on there; every process calls it. See `fit_by_steps`."""

    def answers(self, result: FitResult) -> Answers:
        """Predict every item with the selected weights; the first process alone calls it."""


def train_run(items: RunItems, run_folder: str | Path) -> pd.DataFrame:
    """Train on a modality's items and predict all of them.

    A finished run of the same inputs is read back; a killed one goes on; other inputs or settings
    begin anew. All processes of a group call it together.

    Parameters
    ----------
    items : RunItems
    run_folder : path
        See docs/architecture.md, "Run folder".

    Returns
    -------
    pandas.DataFrame
        The predictions, a row per image.

    Raises
    ------
    InputError
        The folder holds files that are not a run's.
    """
    run = RunFolder(run_folder)
    inputs = {
        "task": items.task,
        "version": items.version,
        "classes": list(items.classes),
        "excluded": digest_of(items.excluded.astype(str).to_dict("list")),
        **items.inputs(),
    }
    first = distributed.rank_and_world()[0] == 0
    if distributed.from_rank_zero(run.begin(inputs) if first else None):
        if first:
            _write_beginning(run.path, items)
        result = items.fit(run.path, digest_of(inputs))
        if first:
            answers = items.answers(result)
            write_answers(run.path, answers, items.classes)
            lacking = classes_not_validated(items.validation_labels(), items.classes)
            facts = {**answers.facts, **_selected(result), "classes_not_validated": lacking}
            found = _geometry(run.path, answers, items.classes, result)
            run.finish(**facts, geometry=found, weak_classes=weak_classes(found))
        distributed.wait_for_all()
    return pd.read_parquet(run.path / _PREDICTIONS)


def fit_by_steps(
    items: RunItems,
    algorithm: Algorithm,
    source: PlannedSource,
    settings: FitSettings,
    folder: Path,
    *,
    loss: ClassificationLoss | None,
    validate: Validate | None,
    fingerprint: str,
    told: Mapping[str, Any] | None = None,
) -> FitResult:
    """Say what the batches will draw of each class, and fit an algorithm to them.

    Parameters
    ----------
    loss : ClassificationLoss or None
        The classifier's, to warn where it and the batches both correct for imbalance.
    validate, fingerprint, told
        See `offsite.training.fit.loop.fit`.
    """
    if distributed.rank_and_world()[0] == 0:
        names = [items.classes[label] for label in items.training_labels()]
        write_draws(folder, source.plan, names, loss, settings.epochs)
    validated = patients_by_class(
        items.validation_labels(), items.validation_patients(), items.classes
    )
    return fit(
        algorithm,
        source,
        settings,
        folder,
        validate=validate,
        fingerprint=fingerprint,
        validated=validated,
        told=told,
    )


def _write_beginning(folder: Path, items: RunItems) -> None:
    write_json(folder / "settings.json", items.settings.model_dump(mode="json"))
    with replacing(folder / "splits.parquet") as temporary:
        items.cohort[_DIVISION].to_parquet(temporary, index=False)
    with replacing(folder / EXCLUDED) as temporary:
        items.excluded.to_csv(temporary, index=False, lineterminator="\n")


def write_answers(folder: Path, answers: Answers, classes: tuple[str, ...]) -> None:
    """Write the table of predictions and the arrays beside it into a run's folder."""
    table = answers.table.copy()
    for number, name in enumerate(classes):
        table[f"prob_{name}"] = answers.probabilities[:, number]
    arrays = {"embeddings": answers.embeddings, "logits": answers.logits, "trunk": answers.trunk}
    for name, array in arrays.items():
        if array is None:
            continue
        with replacing(folder / f"{name}.npy") as temporary, temporary.open("wb") as file:
            np.save(file, array.astype(np.float32), allow_pickle=False)
    with replacing(folder / _PREDICTIONS) as temporary:
        table.to_parquet(temporary, index=False)


def _geometry(
    folder: Path, answers: Answers, classes: tuple[str, ...], result: FitResult
) -> dict[str, Any]:
    """How the answers' embeddings lie, and how the selected epoch's stages did, where they were seen."""
    found = geometry_of_splits(answers.table, answers.embeddings, answers.logits, classes)
    curves = folder / "curves.jsonl"
    lines = curves.read_text(encoding="utf-8").splitlines() if curves.is_file() else []
    if lines and "val" in found:
        scores = json.loads(lines[-1 if result.epoch is None else result.epoch])["scores"]
        stages = [value for name, value in scores.items() if name.startswith("nc1_stage_")]
        found["val"] |= {"nc1_by_stage": stages} if stages else {}
    return found


def _selected(result: FitResult) -> dict[str, Any]:
    facts = asdict(result)
    return {
        "selected_epoch": facts["epoch"],
        "selected_because": facts["reason"],
        "selection_note": facts["note"],
        "selection_score": facts["score"],
        "epochs": facts["epochs"],
    }
