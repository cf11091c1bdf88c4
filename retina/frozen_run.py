"""A run whose trunk is frozen: it reads every photograph once, and a head is trained by steps."""

import numpy as np
import torch

from offsite.retina.by_steps import BatchLoader, PhotographRun, build_algorithm
from offsite.retina.inference import Graded
from offsite.retina.linear.features import TrunkFeatures
from offsite.retina.methods import Method
from offsite.retina.networks.classifier import FundusClassifier
from offsite.retina.networks.frozen import FrozenBackbone
from offsite.retina.photographs.batches import PhotographBatch
from offsite.retina.photographs.of_run import RunPhotographs
from offsite.retina.validation import grading_scores
from offsite.training.algorithm import Algorithm
from offsite.training.devices import distributed
from offsite.training.fit.loop import Validate
from offsite.training.generalisation.erm import ERM
from offsite.training.geometry import geometry
from offsite.training.randomness import seed_of
from offsite.training.trunk.weights import content_digest, trunk_state


class FrozenRun(PhotographRun):
    """Photographs as the trunk read them; see `offsite.training.train_run.RunItems`."""

    def begun(self, method: Method) -> ERM:
        """Return the method's algorithm, fresh, with all read that it learns from."""
        algorithm = build_algorithm(method, self.photographs, self.settings, len(self.classes))
        backbone = algorithm.backbone
        assert isinstance(backbone, FrozenBackbone)
        digest = content_digest(trunk_state(self.settings.backbone.weights))
        kept = TrunkFeatures(self.prepared_folder, backbone.reader, digest)
        train, copies = self.photographs.rows("train"), self.settings.linear.copies
        wanted = [(int(row), copy) for copy in range(1, copies + 1) for row in train]
        everything = [(row, 0) for row in range(len(self.photographs.table))]
        read = distributed.rank_zero_first(
            lambda: kept.rows(self.photographs, [*everything, *wanted])
        )
        self._features, altered = read[: len(everything)], read[len(everything) :]
        of_train = self._features[train]
        self._views = np.concatenate([of_train[None], altered.reshape(copies, *of_train.shape)])
        backbone.standardise(self._views.reshape(-1, of_train.shape[1]))
        return algorithm

    def loader(self, method: Method) -> BatchLoader:
        """Return what loads the batches of a run that has begun."""
        return FeatureLoader(self.photographs, self._views, self.settings.fit.seed)

    def _validator(self) -> Validate | None:
        rows = self.photographs.rows("val")
        if not len(rows):
            return None

        def validate(algorithm: Algorithm, epoch: int) -> dict[str, float | None]:
            assert isinstance(algorithm, ERM)
            graded = _answered(algorithm.backbone, algorithm.classifier, self._features[rows])
            labels, sites = self.photographs.labels[rows], self.photographs.sites[rows]
            return {
                **grading_scores(graded.logits, labels),
                **geometry(graded.embeddings, graded.logits, labels, sites),
            }

        return validate

    def _graded(self, network: FundusClassifier, rows: np.ndarray) -> Graded:
        return _answered(network.backbone, network.classifier, self._features[rows])


class FeatureLoader:
    """Loads what the trunk read of the photographs that a plan draws, of a random copy of each.

    Parameters
    ----------
    photographs : RunPhotographs
        All of the run.
    views : numpy.ndarray
        V x N x D: the features of the training photographs, and of their altered copies.
    seed : int
        Of the choice of a copy, a function of (seed, epoch, row, time in the epoch).
    """

    def __init__(self, photographs: RunPhotographs, views: np.ndarray, seed: int) -> None:
        self._rows, self._views, self._seed = photographs.rows("train"), views, seed
        self._labels, self._sites = photographs.labels, photographs.sites

    def training_batch(self, items: np.ndarray, epoch: int, times: np.ndarray) -> PhotographBatch:
        """Return a batch whose ``pixels`` are features (B x D)."""
        drawn = zip(items.tolist(), times.tolist(), strict=True)
        views = [seed_of(self._seed, epoch, item, time) % len(self._views) for item, time in drawn]
        rows = self._rows[items]
        return PhotographBatch(
            pixels=torch.from_numpy(self._views[views, items]),
            labels=torch.from_numpy(self._labels[rows]),
            sites=torch.from_numpy(self._sites[rows]),
        )


@torch.inference_mode()
def _answered(
    backbone: torch.nn.Module, classifier: torch.nn.Module, features: np.ndarray
) -> Graded:
    """The answers of a head to features that were read before."""
    device = next(classifier.parameters()).device
    embedding = backbone(torch.from_numpy(features).to(device))
    logits = classifier(embedding)
    return Graded(logits.float().cpu().numpy(), embedding.cpu().numpy(), trunk=features)
