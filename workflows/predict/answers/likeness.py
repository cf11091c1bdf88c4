"""How unlike the known images a case is: by the model's embedding, and by what its trunk sees."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

import numpy as np

from offsite.evaluation.ood.detector import ReferencedDetector
from offsite.training.prediction.contract import ModelAnswer
from offsite.workflows.package.folder import Package
from offsite.workflows.package.heads import TRUNK, training_sums
from offsite.workflows.package.schema import POOLED
from offsite.workflows.package.trunk_distance import SCORES, referenced

EMBEDDING_SCORES = "ood_scores"
"""Prefix of the scores of a site's own cases by the detector of the embedding."""


class Likeness:
    """The detectors of a package, read against the training images or against a site's own.

    A site whose head was refitted has its own scores: those of its labelled cases, which no detector
    was fitted to.

    Parameters
    ----------
    package : Package
        What it lacks is not made up: without a detector there is no percentile.
    """

    def __init__(self, package: Package) -> None:
        self._package = package
        arrays = package.arrays("ood")
        self._embedding = ReferencedDetector.from_arrays(arrays) if arrays else None

    @cached_property
    def _trunk(self) -> ReferencedDetector | None:
        scores = self._package.arrays(f"{SCORES}/{POOLED}")
        sums = training_sums(self._package.arrays(TRUNK)) if scores else None
        if sums is None or sums.sites is None:
            return None
        return referenced(sums.sites, scores)

    def is_local(self, profile: str) -> bool:
        """Whether a profile has scores of its site's own cases."""
        return bool(self._package.arrays(f"{EMBEDDING_SCORES}/{profile}")) or (
            profile != POOLED and bool(self._package.arrays(f"{SCORES}/{profile}"))
        )

    def percentiles(self, answer: ModelAnswer, profile: str) -> tuple[float | None, float | None]:
        """Return the percentiles (0..100) by the embedding and by what the trunk sees.

        Of the training sites' unseen images, or of the site's own cases where it has scores.
        """
        logits = np.asarray(answer.logits, dtype=np.float64)[None]
        embedding, seen = _row(answer.embedding), _row(trunk_of(answer))
        return (
            _percentile(
                self._embedding, self._scores(EMBEDDING_SCORES, profile), embedding, logits
            ),
            _percentile(self._trunk, self._scores(SCORES, profile), seen, logits),
        )

    def scores(
        self, embeddings: np.ndarray, seen: np.ndarray, logits: np.ndarray
    ) -> dict[str, ReferencedDetector]:
        """Return the detectors, by prefix, read against these cases (N rows each)."""
        given = {
            EMBEDDING_SCORES: (self._embedding, embeddings),
            SCORES: (self._trunk, seen),
        }
        return {
            prefix: ReferencedDetector.of(known.detector, known.score(rows, logits))
            for prefix, (known, rows) in given.items()
            if known is not None
        }

    def _scores(self, prefix: str, profile: str) -> Mapping[str, np.ndarray]:
        return {} if profile == POOLED else self._package.arrays(f"{prefix}/{profile}")


def trunk_of(answer: ModelAnswer) -> np.ndarray | None:
    """Return what the trunk saw of a case; of a head on the trunk itself that is the embedding."""
    return answer.embedding if answer.trunk is None else answer.trunk


def _row(values: np.ndarray | None) -> np.ndarray | None:
    return None if values is None else np.asarray(values, dtype=np.float64)[None]


def _percentile(
    detector: ReferencedDetector | None,
    local: Mapping[str, np.ndarray],
    row: np.ndarray | None,
    logits: np.ndarray,
) -> float | None:
    if detector is None or row is None:
        return None
    if local:
        quantiles = np.asarray(local["quantiles"], np.float64)
        detector = replace(detector, quantiles=quantiles, n=int(local["n"]))
    return round(float(detector.percentile(detector.score(row, logits))[0]), 2)
