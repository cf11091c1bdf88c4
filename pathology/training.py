"""One run: from a split cohort and its features to weights and a predictions table."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from offsite.files import digest_of, replacing, write_json
from offsite.pathology.bags import BagLoader
from offsite.pathology.inference import describe, load_slide_model, predict_all
from offsite.pathology.method_plan import batch_plan, with_method
from offsite.pathology.methods import METHODS
from offsite.pathology.run_outputs import write_excluded, write_predictions
from offsite.pathology.sc_mil import ScMil
from offsite.pathology.settings import PathologySettings, StagedSettings
from offsite.pathology.slides_of_run import SlidesOfRun, select_slides
from offsite.pathology.validation import validation_scores
from offsite.preprocessing.cohort.table import Cohort
from offsite.training.algorithm import Algorithm
from offsite.training.devices import distributed
from offsite.training.fit.loop import fit
from offsite.training.fit.selection import classes_not_validated
from offsite.training.fit.settings import FitSettings, outcome_settings
from offsite.training.run_folder import NOT_TRAINED_ON, RunFolder
from offsite.training.samplers.plans import PlannedSource
from offsite.training.samplers.report import write_draws

VERSION = 3
"""Goes up when the same inputs would give another run."""

_STANDARDISE_ROWS = 2_000_000


def train_pathology(
    cohort: Cohort, features_folder: str | Path, settings: PathologySettings, run_folder: str | Path
) -> pd.DataFrame:
    """Train a model of slides and predict every slide that has features.

    A finished run of the same inputs is read back; a killed one goes on; other inputs or settings
    begin anew. Weights are selected on the ``val`` slides of training sites alone.

    Parameters
    ----------
    cohort : Cohort
        With ``split`` and ``site_role``, as `offsite.preprocessing.cohort.splits.split_cohort` gives them.
    features_folder : path
        Where `offsite.pathology.features.embedding.embed_cohort` wrote.
    run_folder : path
        See docs/architecture.md; slides without features are listed in ``excluded.csv``.

    Returns
    -------
    pandas.DataFrame
        The predictions, a row per slide in the order of the cohort.

    Raises
    ------
    InputError
        A split is missing, no training slide has features, a class has none, or the method cannot
        be trained with the settings.
    """
    settings.check_method(settings.method, len(cohort.classes))
    model_settings = _model_settings(settings)
    slides = distributed.rank_zero_first(
        lambda: select_slides(cohort, features_folder, settings.pooling, settings.resident_gib)
    )
    run = RunFolder(run_folder)
    inputs = {
        "task": "pathology",
        "version": VERSION,
        "settings": outcome_settings(settings),
        "classes": list(cohort.classes),
        "features": slides.store.digest,
        "slides": digest_of(slides.table.astype(str).to_dict("list")),
        "excluded": digest_of(slides.excluded.astype(str).to_dict("list")),
    }
    first = distributed.rank_and_world()[0] == 0
    if not distributed.from_rank_zero(run.begin(inputs) if first else None):
        return pd.read_parquet(run.path / "predictions.parquet")
    lacking: list[str] = []
    if first:
        validated = slides.bags.labels[slides.validation_bags()]
        lacking = classes_not_validated(validated, cohort.classes)
        _write_beginning(run.path, settings, slides, cohort)
    torch.manual_seed(settings.fit.seed)
    model = build_model(slides, model_settings, len(cohort.classes))
    source = batch_source(slides, settings)
    if first:
        labels = slides.bags.labels[slides.training_bags()]
        names = [cohort.classes[label] for label in labels]
        write_draws(run.path, source.plan, names, model.classification, settings.fit.epochs)
    result = fit(
        model,
        source,
        _fit_settings(settings),
        run.path,
        validate=_validator(slides, settings, len(cohort.classes)),
        fingerprint=digest_of(inputs),
    )
    architecture = describe(model)
    table = pd.DataFrame()
    if distributed.rank_and_world()[0] == 0:
        best = load_slide_model(result.weights, architecture)
        loader = BagLoader(slides.store, slides.bags)
        predictions = list(predict_all(best.to(model.centre.device), loader))
        table = write_predictions(run.path, slides, cohort.classes, predictions, settings.pooling)
        facts = _facts(slides, settings, architecture, result.__dict__)
        run.finish(**facts, classes_not_validated=lacking)
    distributed.wait_for_all()
    return table if len(table) else pd.read_parquet(run.path / "predictions.parquet")


def build_model(slides: SlidesOfRun, settings: StagedSettings, n_classes: int) -> ScMil:
    """Return the method's network with fresh weights, its input scale fitted on training bags."""
    counts = np.bincount(slides.bags.labels[slides.training_bags()], minlength=n_classes)
    model = ScMil(slides.store.dimensions, n_classes, settings, counts)
    model.standardise(*_mean_and_deviation(slides))
    return model


def batch_source(slides: SlidesOfRun, settings: PathologySettings) -> PlannedSource:
    """Return the training batches of the method."""
    method = METHODS[settings.method]
    training = slides.subset(slides.training_bags())
    views = settings.views if method.contrast else 1
    loader = BagLoader(
        slides.store,
        training,
        instances=max(settings.instances // views, 1),
        views=views,
        seed=settings.fit.seed,
    )
    plan = batch_plan(
        method, training.labels, settings.batch_size, settings.fit.epochs, settings.fit.seed
    )
    return PlannedSource(plan, loader.training_batch)


def _model_settings(settings: PathologySettings) -> StagedSettings:
    return with_method(METHODS[settings.method], settings.model, settings.fit.epochs)


def _fit_settings(settings: PathologySettings) -> FitSettings:
    """Keep selection closed for as long as the method's last part has not begun."""
    opens = _model_settings(settings).selects_from()
    return settings.fit.model_copy(update={"select_after": max(settings.fit.select_after, opens)})


def _validator(slides: SlidesOfRun, settings: PathologySettings, n_classes: int) -> Any:
    """Return the scores of an epoch on the labelled validation bags, or None without such bags."""
    bags = slides.validation_bags()
    if not len(bags):
        return None
    validation = slides.subset(bags)
    loader = BagLoader(slides.store, validation)

    def validate(algorithm: Algorithm, epoch: int) -> dict[str, float | None]:
        assert isinstance(algorithm, ScMil)
        logits = np.stack([answer.logits for answer in predict_all(algorithm, loader)])
        return validation_scores(logits, validation.labels, n_classes)

    return validate


def _mean_and_deviation(slides: SlidesOfRun) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of the instances of training slides; each slide has the same weight."""
    wanted = [s for bag in slides.training_bags() for s in slides.bags.slides[bag]]
    each = max(_STANDARDISE_ROWS // len(wanted), 1)
    means, squares = [], []
    for slide in wanted:
        rows = slides.store.rows(slide)
        step = -(-len(rows) // each)
        part = np.asarray(rows[::step], np.float64)
        means.append(part.mean(axis=0))
        squares.append((part**2).mean(axis=0))
    mean = np.mean(means, axis=0)
    return mean, np.sqrt(np.maximum(np.mean(squares, axis=0) - mean**2, 0))


def _write_beginning(
    folder: Path, settings: PathologySettings, slides: SlidesOfRun, cohort: Cohort
) -> None:
    write_json(folder / "settings.json", settings.model_dump(mode="json"))
    columns = ["image", "slide", "patient", "site", "site_role", "split", "label"]
    with replacing(folder / "splits.parquet") as temporary:
        cohort.table[columns].to_parquet(temporary, index=False)
    write_excluded(folder, slides.excluded)


def _facts(
    slides: SlidesOfRun,
    settings: PathologySettings,
    architecture: dict[str, Any],
    result: dict[str, Any],
) -> dict[str, Any]:
    training = slides.bags.labels[slides.training_bags()]
    return {
        "architecture": architecture,
        "encoder": slides.store.encoder,
        "encoder_digest": slides.store.encoder_digest,
        "pooling": settings.pooling,
        "selected_epoch": result["epoch"],
        "selected_because": result["reason"],
        "selection_score": result["score"],
        "epochs": result["epochs"],
        "training_bags": np.bincount(training, minlength=architecture["n_classes"]).tolist(),
        "slides_predicted": len(slides.table),
        "slides_excluded": int((slides.excluded["status"] != NOT_TRAINED_ON).sum()),
    }
