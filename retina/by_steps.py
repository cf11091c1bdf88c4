"""A run of photographs whose network is trained by steps."""

from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch

from offsite.files import file_digest
from offsite.preprocessing.augment.fundus import Augmentation, fundus_augmentation
from offsite.preprocessing.cohort.table import Cohort
from offsite.retina.building import MethodContext, build
from offsite.retina.inference import BATCH, Graded, grade, load_fundus_model
from offsite.retina.methods import Method, method_named
from offsite.retina.networks.classifier import FundusClassifier, build_classifier
from offsite.retina.networks.staged import Backbone
from offsite.retina.photographs.batches import PhotographBatch
from offsite.retina.photographs.of_run import RunPhotographs
from offsite.retina.photographs.source import PhotographLoader
from offsite.retina.run_outputs import answers_of
from offsite.retina.settings import DecoSettings, RetinaSettings
from offsite.retina.validation import epoch_scores
from offsite.settings import Settings
from offsite.training.algorithm import Algorithm
from offsite.training.fit.checkpoint import save_tensors
from offsite.training.fit.loop import Validate
from offsite.training.fit.result import FitResult
from offsite.training.fit.settings import outcome_settings
from offsite.training.generalisation.erm import ERM
from offsite.training.heads.cut_points import fit_cut_points
from offsite.training.heads.ordinal import GradeHead
from offsite.training.losses.configured import ClassificationLoss
from offsite.training.samplers.pairs import PairBatches
from offsite.training.samplers.plans import BatchPlan, PlannedSource, RandomBatches, TwoPlans
from offsite.training.samplers.settings import make_plan
from offsite.training.samplers.shares import cells_of
from offsite.training.samplers.weighted import WeightedBatches
from offsite.training.train_run import Answers, fit_by_steps
from offsite.training.trunk.network import Lite0
from offsite.training.trunk.reading import pictures_at_once

VERSION = 2
"""Goes up when the same inputs would give another run."""

_Family = TypeVar("_Family", bound=Settings)


class BatchLoader(Protocol):
    """Loads what a plan draws, as `PhotographLoader` does."""

    def training_batch(self, items: np.ndarray, epoch: int, times: np.ndarray) -> PhotographBatch:
        """Return a batch of the training rows at these positions."""


class PhotographRun:
    """The photographs of a run, from the folder that they were prepared in.

    See `offsite.training.train_run.RunItems`.
    """

    task, version = "retina", VERSION

    def __init__(
        self,
        cohort: Cohort,
        photographs: RunPhotographs,
        settings: RetinaSettings,
        prepared_folder: str | Path,
    ) -> None:
        self.cohort, self.classes = cohort.table, cohort.classes
        self.photographs, self.settings = photographs, settings
        self.prepared_folder, self.excluded = prepared_folder, photographs.excluded

    def inputs(self) -> dict[str, Any]:
        """Return what the weights and answers depend on."""
        weights, outcome = self.settings.backbone.weights, outcome_settings(self.settings)
        del outcome["backbone"]["weights"]  # what the file holds counts, not where it lies
        return {
            "settings": outcome,
            "photographs": self.photographs.digest,
            "first_weights": file_digest(weights) if weights is not None else "",
        }

    def training_labels(self) -> np.ndarray:
        """Return the grade of each training photograph."""
        return self.photographs.labels[self.photographs.rows("train")]

    def validation_labels(self) -> np.ndarray:
        """Return the grade of each validation photograph."""
        return self.photographs.labels[self.photographs.rows("val")]

    def validation_patients(self) -> list[str]:
        """Return the patient of each validation photograph."""
        patients = self.photographs.table["patient"].astype(str)
        return patients.iloc[self.photographs.rows("val")].tolist()

    def fit(self, folder: Path, fingerprint: str) -> FitResult:
        """Train the method's network."""
        method, settings = method_named(self.settings.method), self.settings
        algorithm = self.begun(method)
        return fit_by_steps(
            self,
            algorithm,
            batch_source(method, self.photographs, settings, self.loader(method)),
            settings.fit.model_copy(update=method.fit),
            folder,
            loss=algorithm.loss,
            validate=self._validator(),
            fingerprint=fingerprint,
        )

    def begun(self, method: Method) -> ERM:
        """Return the method's algorithm, fresh, with all read that it learns from."""
        return build_algorithm(method, self.photographs, self.settings, len(self.classes))

    def loader(self, method: Method) -> BatchLoader:
        """Return what loads the batches of a run that has begun."""
        return photograph_loader(method, self.photographs, self.settings)

    def _validator(self) -> Validate | None:
        return _validator(self.photographs)

    def answers(self, result: FitResult) -> Answers:
        """Grade every photograph."""
        photographs, settings = self.photographs, self.settings
        architecture = {
            "backbone": settings.backbone.model_dump(mode="json", exclude={"weights"}),
            "head": settings.head,
            "n_classes": len(self.classes),
        }
        network = load_fundus_model(result.weights, architecture)
        if isinstance(network.classifier, GradeHead):
            assert isinstance(network, FundusClassifier)
            self._cut(network, network.classifier, result.weights)
        assert isinstance(network, FundusClassifier)
        graded = self._graded(network, np.arange(len(photographs.table)))
        return answers_of(photographs, graded, architecture, {})

    def _graded(self, network: FundusClassifier, rows: np.ndarray) -> Graded:
        """The answers to some photographs."""
        return graded_rows(network, self.photographs, rows)

    def _cut(self, network: FundusClassifier, head: GradeHead, weights: Path) -> None:
        """Set the cut-points of a real-valued grade on the validation photographs, and keep them."""
        rows = self.photographs.rows("val")
        rows = rows if len(rows) else self.photographs.rows("train")
        graded = self._graded(network, rows)
        with torch.no_grad():
            values = head.grade(torch.from_numpy(graded.embeddings)).numpy()
        cuts = fit_cut_points(values, self.photographs.labels[rows], head.cuts.numel() + 1)
        head.set_cut_points(cuts)
        save_tensors(weights, network.state_dict())


def graded_rows(network: FundusClassifier, photographs: RunPhotographs, rows: np.ndarray) -> Graded:
    """Return the answers of a network to some photographs of a run."""
    on_processor = next(network.parameters()).device.type == "cpu"
    trunk = isinstance(network.backbone.net, Lite0) and on_processor
    batch = pictures_at_once(photographs.prepared.px) if trunk else BATCH
    return grade(network, lambda part: photographs.store.pixels(rows[part]), len(rows), batch)


def build_algorithm(
    method: Method, photographs: RunPhotographs, settings: RetinaSettings, n_classes: int
) -> ERM:
    """Return the method with fresh weights, equal for all methods of a seed."""
    rows = photographs.rows("train")
    class_counts = np.bincount(photographs.labels[rows], minlength=n_classes)
    context = MethodContext(
        network=build_classifier(
            settings.backbone, n_classes, settings.fit.seed, head=settings.head
        ),
        loss=ClassificationLoss(settings.loss, class_counts),
        class_counts=class_counts,
        site_counts=np.bincount(photographs.sites[rows], minlength=len(photographs.training_sites)),
        px=photographs.prepared.px,
        deco=_laid_over(settings.deco, method.settings),
        gdrnet=settings.gdrnet,
        general=_laid_over(settings.general, method.settings),
    )
    return build(method, context)


def photograph_loader(
    method: Method, photographs: RunPhotographs, settings: RetinaSettings
) -> PhotographLoader:
    """Return what loads the photographs of a method's batches, augmented."""
    first, *second = (
        fundus_augmentation(name, fill=photographs.prepared.fill)
        for name in views_of(method, settings)
    )
    return PhotographLoader(
        photographs,
        photographs.rows("train"),
        first,
        settings.fit.seed,
        second=second[0] if second else None,
    )


def views_of(method: Method, settings: RetinaSettings) -> list[Augmentation]:
    """Return the augmentation of each view of a photograph that a method's batches hold."""
    first: Augmentation = settings.augmentation
    return [first, "artefacts"] if method.second_view else [first]


def batch_source(
    method: Method,
    photographs: RunPhotographs,
    settings: RetinaSettings,
    loader: BatchLoader | None = None,
) -> PlannedSource:
    """Return the training batches of a method."""
    rows = photographs.rows("train")
    labels, sites = photographs.labels[rows], photographs.sites[rows]
    seed, deco = settings.fit.seed, _laid_over(settings.deco, method.settings)
    as_they_come = RandomBatches(len(rows), settings.batch_size, seed)
    plan: BatchPlan = as_they_come
    if settings.sampler is not None:
        patients = photographs.table["patient"].to_numpy()[rows]
        of = {"batch_size": settings.batch_size, "epochs": settings.fit.epochs, "seed": seed}
        plan = make_plan(settings.sampler, labels, sites, patients, **of)
    elif method.batches == "sites":
        plan = WeightedBatches(sites, settings.batch_size, seed, exponent=0.0)
    elif method.batches != "instance":
        plan = _anchors(deco, labels, sites, settings.batch_size, seed)
    if method.batches == "pairs":
        plan = PairBatches(plan, sites, seed)
    if method.batches in ("anchors", "pairs") and deco.warmup:
        plan = TwoPlans(as_they_come, plan, max(1, round(deco.warmup * settings.fit.epochs)))
    loader = loader or photograph_loader(method, photographs, settings)
    return PlannedSource(plan, loader.training_batch)


def _laid_over(settings: _Family, changes: dict[str, Any]) -> _Family:
    """Return settings with those changes that are of their kind; each method has one family."""
    fitting = {
        name: value for name, value in changes.items() if name in type(settings).model_fields
    }
    return type(settings).model_validate({**settings.model_dump(), **fitting})


def _anchors(
    deco: DecoSettings, labels: np.ndarray, sites: np.ndarray, batch_size: int, seed: int
) -> BatchPlan:
    if deco.anchors == "instance":
        return RandomBatches(len(labels), batch_size, seed)
    cells = labels if deco.anchors == "class_uniform" else cells_of(sites, labels)[0]
    return WeightedBatches(cells, batch_size, seed, exponent=0.0)


def _validator(photographs: RunPhotographs) -> Validate | None:
    """Return the scores of an epoch on the validation photographs, or None without any."""
    rows = photographs.rows("val")
    if not len(rows):
        return None

    def validate(algorithm: Algorithm, epoch: int) -> dict[str, float | None]:
        assert isinstance(algorithm, ERM)
        assert isinstance(algorithm.backbone, Backbone)
        network = FundusClassifier(algorithm.backbone, algorithm.classifier).eval()
        with algorithm.backbone.watched() as stages:
            graded = graded_rows(network, photographs, rows)
        labels, sites = photographs.labels[rows], photographs.sites[rows]
        seen = [torch.cat(part).numpy() for part in stages]
        return epoch_scores(graded.logits, graded.embeddings, seen, labels, sites)

    return validate
