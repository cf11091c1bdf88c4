"""One run of slides: their bags, the network that learns from them, and what it says of each."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from offsite.cores import threads_that_pay
from offsite.files import digest_of
from offsite.pathology.bags import BagLoader
from offsite.pathology.features.source import FeatureSource
from offsite.pathology.inference import SlideNetwork, describe, load_slide_model, predict_all
from offsite.pathology.inputs import Inputs, fit_inputs
from offsite.pathology.linear.training import fit_linear
from offsite.pathology.method_plan import TrainingItems, batch_plan, with_method
from offsite.pathology.methods import LINEAR, method_named
from offsite.pathology.run_outputs import answers_of
from offsite.pathology.sc_mil import ScMil
from offsite.pathology.settings import PathologySettings, StagedSettings
from offsite.pathology.slides_of_run import SlidesOfRun, select_slides
from offsite.pathology.validation import validation_scores
from offsite.preprocessing.cohort.table import Cohort
from offsite.training.algorithm import Algorithm
from offsite.training.devices import distributed
from offsite.training.fit.loop import Validate
from offsite.training.fit.result import FitResult
from offsite.training.fit.settings import FitSettings, outcome_settings
from offsite.training.geometry import geometry
from offsite.training.run_folder import NOT_TRAINED_ON
from offsite.training.samplers.plans import PlannedSource
from offsite.training.train_run import Answers, fit_by_steps, train_run

VERSION = 6
"""Goes up when the same inputs would give another run."""


def train_pathology(
    cohort: Cohort,
    features_folder: str | Path | FeatureSource,
    settings: PathologySettings,
    run_folder: str | Path,
) -> pd.DataFrame:
    """Train a model of slides and predict every slide that has features.

    Weights are selected on the ``val`` slides of training sites alone.

    Parameters
    ----------
    cohort : Cohort
        With ``split`` and ``site_role``, as `offsite.preprocessing.cohort.splits.split_cohort` gives them.
    features_folder : path or FeatureSource
        Where `offsite.pathology.features.embedding.embed_cohort` wrote, or another tool.
    run_folder : path
        See `offsite.training.train_run.train_run`; slides without features are listed in
        ``excluded.csv``.

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
    by_steps = settings.method != LINEAR
    if by_steps:
        model_settings(settings)  # too few epochs are refused before anything is read
    slides = distributed.rank_zero_first(
        lambda: select_slides(cohort, features_folder, settings.pooling, settings.resident_gib)
    )
    of_method = SlideRun if by_steps else LinearRun
    # What comes before and after the steps is small where they are: statistics of the inputs, the answers.
    with threads_that_pay(multiplications(slides, settings) if by_steps else 0.0):
        return train_run(of_method(cohort, slides, settings), run_folder)


class SlideRun:
    """The slides of a run; see `offsite.training.train_run.RunItems`."""

    task, version = "pathology", VERSION

    def __init__(self, cohort: Cohort, slides: SlidesOfRun, settings: PathologySettings) -> None:
        self.cohort, self.classes = cohort.table, cohort.classes
        self.slides, self.settings, self.excluded = slides, settings, slides.excluded

    def inputs(self) -> dict[str, Any]:
        """Return what the weights and answers depend on."""
        return {
            "settings": outcome_settings(self.settings),
            "features": self.slides.store.digest,
            "slides": digest_of(self.slides.table.astype(str).to_dict("list")),
        }

    def training_labels(self) -> np.ndarray:
        """Return the class of each training bag."""
        return self.slides.bags.labels[self.slides.training_bags()]

    def validation_labels(self) -> np.ndarray:
        """Return the class of each validation bag."""
        return self.slides.bags.labels[self.slides.validation_bags()]

    def validation_patients(self) -> list[str]:
        """Return the patient of each validation bag."""
        return self.slides.patients(self.slides.validation_bags())

    def fit(self, folder: Path, fingerprint: str) -> FitResult:
        """Train the method's network."""
        settings = model_settings(self.settings)
        self._inputs = inputs_of(self.slides, settings)
        torch.manual_seed(self.settings.fit.seed)
        model = network(
            self.slides.store.dimensions,
            self.training_labels(),
            settings,
            len(self.classes),
            self._inputs,
            len(np.unique(self.slides.sites(self.slides.training_bags()))),
        )
        self._model = model
        source = batch_source(self.slides, self.settings)
        return fit_by_steps(
            self,
            model,
            source,
            _fit_settings(self.settings),
            folder,
            loss=model.classification,
            validate=_validator(self.slides, len(self.classes)),
            fingerprint=fingerprint,
            told=self._inputs.facts,
        )

    def answers(self, result: FitResult) -> Answers:
        """Predict every slide."""
        architecture = describe(self._model)
        model = load_slide_model(result.weights, architecture).to(self._model.centre.device)
        return self._answered(model, {**self._facts(architecture), "inputs": self._inputs.facts})

    def _answered(self, model: SlideNetwork, facts: dict[str, Any]) -> Answers:
        predictions = list(predict_all(model, BagLoader(self.slides.store, self.slides.bags)))
        return answers_of(self.slides, predictions, self.settings.pooling, facts)

    def _facts(self, architecture: dict[str, Any]) -> dict[str, Any]:
        slides, n_classes = self.slides, len(self.classes)
        return {
            "architecture": architecture,
            "encoder": slides.store.encoder,
            "encoder_digest": slides.store.encoder_digest,
            **({"features": slides.told} if slides.told else {}),
            "pooling": self.settings.pooling,
            "fewest_tiles": min(
                len(slides.store.rows(slide))
                for bag in slides.training_bags()
                for slide in slides.bags.slides[bag]
            ),
            "training_bags": np.bincount(self.training_labels(), minlength=n_classes).tolist(),
            "slides_predicted": len(slides.table),
            "slides_excluded": int((slides.excluded["status"] != NOT_TRAINED_ON).sum()),
        }


class LinearRun(SlideRun):
    """A run of the method that fits a head in closed form; all else is as for the others."""

    def fit(self, folder: Path, fingerprint: str) -> FitResult:
        """Fit the head, in the first process alone: what the others return is not looked at."""
        if distributed.rank_and_world()[0] != 0:
            return FitResult(folder / "weights.safetensors", None, None, 0, "another process fits")
        self._fitted = fit_linear(
            self.slides,
            self.settings.linear,
            n_classes=len(self.classes),
            seed=self.settings.fit.seed,
            folder=folder,
            digest=fingerprint,
        )
        return self._fitted.result

    def answers(self, result: FitResult) -> Answers:
        """Predict every slide."""
        network = self._fitted.network
        return self._answered(network, {**self._facts(describe(network)), **self._fitted.facts})


def inputs_of(slides: SlidesOfRun, settings: StagedSettings) -> Inputs:
    """Fit what is done to the instances to the training bags."""
    bags = slides.training_bags()
    return fit_inputs(slides.store, slides.subset(bags), slides.patients(bags), settings)


def network(
    dimensions: int,
    labels: np.ndarray,
    settings: StagedSettings,
    n_classes: int,
    inputs: Inputs,
    n_sites: int = 0,
) -> ScMil:
    """Return a network with fresh weights for training bags of these labels."""
    directions = None if inputs.directions is None else len(inputs.directions)
    counts = np.bincount(labels, minlength=n_classes)
    model = ScMil(dimensions, n_classes, settings, counts, directions, n_sites)
    model.take_inputs(inputs)
    return model


def batch_source(slides: SlidesOfRun, settings: PathologySettings) -> PlannedSource:
    """Return the training batches of the method."""
    method, bags = method_named(settings.method), slides.training_bags()
    training = slides.subset(bags)
    views = settings.views if method.contrast or method.views else 1
    loader = BagLoader(
        slides.store,
        training,
        instances=max(settings.instances // views, 1),
        views=views,
        seed=settings.fit.seed,
    )
    patients = np.array(slides.patients(bags))
    plan = batch_plan(
        method,
        TrainingItems(training.labels, slides.sites(bags), patients),
        settings.batch_size,
        settings.fit.epochs,
        settings.fit.seed,
        settings.epoch_steps,
        settings.sampler,
    )
    return PlannedSource(plan, loader.training_batch)


def multiplications(slides: SlidesOfRun, settings: PathologySettings) -> float:
    """About how many multiplications a fit takes: of the first layer, of which most are.

    A step goes forward and, twice as far, backward over at most ``instances`` of each bag; each epoch
    goes forward over all of the validation slides.
    """
    counts = slides.store.counts
    of_bag = np.array([sum(counts[slide] for slide in bag) for bag in slides.bags.slides])
    fit, source = settings.fit, batch_source(slides, settings)
    steps = sum(source.steps(epoch) for epoch in range(fit.last_epochs))
    drawn = np.minimum(of_bag[slides.training_bags()], settings.instances).mean()
    validated = of_bag[slides.validation_bags()].sum() * fit.last_epochs
    rows = 3 * steps * settings.batch_size * drawn + validated
    return float(rows * slides.store.dimensions * settings.model.aggregator.width)


def model_settings(settings: PathologySettings) -> StagedSettings:
    """Return the settings of the network as the method has them."""
    method, epochs = method_named(settings.method), settings.fit.epochs
    return with_method(method, settings.model, epochs, settings.general)


def _fit_settings(settings: PathologySettings) -> FitSettings:
    """Keep selection closed for as long as the method's last part has not begun."""
    opens = model_settings(settings).selects_from()
    return settings.fit.model_copy(update={"select_after": max(settings.fit.select_after, opens)})


def _validator(slides: SlidesOfRun, n_classes: int) -> Validate | None:
    """Return the scores of an epoch on the labelled validation bags, or None without such bags."""
    bags = slides.validation_bags()
    if not len(bags):
        return None
    validation, sites = slides.subset(bags), slides.sites(bags)
    loader = BagLoader(slides.store, validation)

    def validate(algorithm: Algorithm, epoch: int) -> dict[str, float | None]:
        assert isinstance(algorithm, ScMil)
        answers = list(predict_all(algorithm, loader))
        logits = np.stack([answer.logits for answer in answers])
        embeddings = np.stack([answer.embedding for answer in answers])
        return {
            **validation_scores(logits, validation.labels, n_classes),
            **geometry(embeddings, logits, validation.labels, sites),
        }

    return validate
