"""The refit of a cross-validation: what its folds selected, and what they say of unseen patients."""

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from offsite.errors import InputError
from offsite.evaluation.predictions.roles import FOLD
from offsite.evaluation.predictions.table import Predictions, load_predictions
from offsite.files import read_json, replacing
from offsite.training.cells import Cell, Fold, folds_of
from offsite.training.fit.settings import outcome_settings
from offsite.training.modality import TrainingSettings
from offsite.training.run_folder import OUT_OF_FOLD, OUT_OF_FOLD_FILES, RECORD, RunFolder
from offsite.workflows.jobs.job import Job

_PREDICTIONS, _LOGITS = OUT_OF_FOLD_FILES


@dataclass(frozen=True)
class TrainedFolds:
    """The folds of a refit, trained.

    Attributes
    ----------
    of, repeats : int
        How many folds, and how many divisions into them.
    first : dict of int to Path
        The run folders of the first division, by fold.
    runs : dict of str to str
        The key of each fold's run, by the last part of its path.
    selected : tuple of int
        Epochs until the weights that each fold selected; empty where nothing is trained by epochs.
    score : float or None
        Mean of the folds' scores at the selected epochs; None where one has none.
    """

    of: int
    repeats: int
    first: dict[int, Path]
    runs: dict[str, str]
    selected: tuple[int, ...]
    score: float | None

    @property
    def epochs(self) -> int | None:
        """Epochs of the refit: the median over the folds, rounded up; None where there are none."""
        return int(np.ceil(median(self.selected))) if self.selected else None

    def facts(self) -> dict[str, Any]:
        """Return what the refit tells of them, JSON-able."""
        told = {"of": self.of, "repeats": self.repeats, "runs": self.runs, "epochs": self.epochs}
        return {"folds": told | {"selected": list(self.selected)}, "selection_score": self.score}


def trained_folds(job: Job, refit: Cell, settings: TrainingSettings) -> TrainedFolds:
    """Return the folds that a refit joins.

    Parameters
    ----------
    settings : TrainingSettings
        Of the refit, but for its epochs: the folds must have been trained with the same.

    Raises
    ------
    InputError
        Code ``fold_not_trained``, ``other_settings`` (of a fold), or ``no_epoch`` (a fold's weights
        are the mean of many epochs, which a refit cannot repeat).
    """
    assert refit.fold is not None
    repeats = job.configuration.cells.repeats
    first, runs, selected, scores = {}, {}, [], []
    for fold in folds_of(refit.fold.of, repeats):
        if fold.is_refit:
            continue
        cell = Cell(refit.method, refit.held_out, refit.seed, fold)
        folder = job.run_folder(cell)
        record = RunFolder(folder).record()
        if record is None or record["status"] != "done":
            raise _again(
                job, cell, folder, "the fold is not trained to its end", "fold_not_trained"
            )
        if not _same_settings(folder, settings):
            raise _again(job, cell, folder, "the fold has other settings", "other_settings")
        facts = record["facts"]
        if facts["selected_because"] == "swad":
            raise InputError(
                "the weights of the fold are a mean over epochs that validation chose",
                file=folder,
                code="no_epoch",
                remedy="Set training.fit.averaging to ema or none",
            )
        if fold.repeat == 1:
            first[fold.number] = folder
        runs[fold.name] = str(record["key"])
        scores.append(facts.get("selection_score"))
        if facts["selected_epoch"] is not None:
            selected.append(int(facts["selected_epoch"]) + 1)
    known = [float(score) for score in scores if score is not None]
    score = float(np.mean(known)) if len(known) == len(scores) else None
    return TrainedFolds(refit.fold.of, repeats, first, runs, tuple(selected), score)


def fold_runs(refit: Path) -> dict[str, Path] | None:
    """Return the run folders of the folds that a finished refit joined, by their names.

    None where one is not there any more, or was trained anew since.
    """
    told = (RunFolder(refit).record() or {}).get("facts", {}).get("folds", {"runs": {}})
    runs = {name: refit.parent / name for name in told["runs"]}
    for name, run in runs.items():
        record = RunFolder(run).record() or {}
        same = record.get("status") == "done" and record.get("key") == told["runs"][name]
        if not same or RunFolder(run).damaged():
            return None
    return runs or None


def fold_models(refit: Path) -> dict[int, Predictions] | None:
    """Return all rows of the models that answered for a refit, by fold; the refit's own are 0.

    None as of `fold_runs`. Of repeated divisions these are the folds of the first.
    """
    runs = fold_runs(refit)
    if runs is None:
        return None
    of = read_json(refit / RECORD)["facts"]["folds"]["of"]
    first = {number: runs[Fold(of, number).name] for number in range(1, of + 1)}
    return {0: load_predictions(refit)} | {n: load_predictions(run) for n, run in first.items()}


def _again(job: Job, cell: Cell, folder: Path, problem: str, code: str) -> InputError:
    remedy = f"Run `offsite train {job.file.name} {cell.options()}` first"
    return InputError(problem, file=folder, code=code, remedy=remedy)


def _same_settings(folder: Path, settings: TrainingSettings) -> bool:
    try:
        own = type(settings).model_validate(read_json(folder / "settings.json"))
    except (ValidationError, OSError, ValueError):  # of another version, or gone
        return False
    return outcome_settings(own) == outcome_settings(settings)


def join_folds(refit: Path, folds: TrainedFolds) -> None:
    """Write what the folds say of the patients whom they tested into the folder of a finished refit.

    Its predictions of held-out sites are taken over: nobody trained on them. Nothing is written where
    all is there already.
    """
    run = RunFolder(refit)
    record, facts = run.record(), folds.facts()
    told = (record or {}).get("facts", {})
    names = [f"{OUT_OF_FOLD}/{name}" for name in OUT_OF_FOLD_FILES]
    listed = (record or {}).get("files", {})
    if told.get("folds") == facts["folds"] and names[0] in listed:
        return  # they are whole: a run with a damaged result was made anew
    joined = joined_folds(list(folds.first.items()), refit)
    _write(refit / OUT_OF_FOLD, joined)
    present = [name for name in names if (refit / name).is_file()]
    run.add(present, facts)


def joined_folds(folds: list[tuple[int, Path]], refit: Path) -> Predictions:
    """Return one answer for each patient: of the fold that tested it, at held-out sites of the refit.

    Rows are in the order of the refit's. A column ``fold`` says where each comes from, 0 is the refit.

    Raises
    ------
    InputError
        Code ``other_images``: a fold speaks of other images than the refit.
    """
    parts, of_row = [], []
    final = load_predictions(refit)
    held_out = (final.table["site_role"] == "held_out").to_numpy()
    for number, source in [*((n, load_predictions(run)) for n, run in folds), (0, final)]:
        table = source.table
        own = held_out if number == 0 else _tested(table)
        parts.append(source.select(own))
        of_row += [number] * int(own.sum())
    joined = _one_table(parts, np.array(of_row))
    images = final.table["image"]
    order = pd.Series(np.arange(len(joined)), joined.table["image"])
    if order.index.has_duplicates or set(order.index) != set(images):
        raise InputError(
            "the folds and the refit do not speak of the same images",
            file=refit,
            code="other_images",
            remedy="Run `offsite train` of all folds again: each takes in today's images",
        )
    return joined.select(order.loc[images].to_numpy())


def _tested(table: pd.DataFrame) -> np.ndarray:
    tested = (table["split"] == "test") & (table["site_role"] == "training")
    return np.asarray(tested, dtype=bool)


def _one_table(parts: list[Predictions], of_row: np.ndarray) -> Predictions:
    joined = Predictions.concatenate(parts)
    logits = [part.logits for part in parts if part.logits is not None]
    table = joined.table.assign(**{FOLD: of_row})
    together = np.concatenate(logits) if len(logits) == len(parts) else None
    return Predictions(
        table=table,
        classes=joined.classes,
        probabilities=joined.probabilities,
        labels=joined.labels,
        logits=together,
    )


def _write(folder: Path, joined: Predictions) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if joined.logits is not None:
        with replacing(folder / _LOGITS) as temporary, temporary.open("wb") as file:
            np.save(file, joined.logits.astype(np.float32), allow_pickle=False)
    with replacing(folder / _PREDICTIONS) as temporary:
        joined.table.to_parquet(temporary, index=False)
