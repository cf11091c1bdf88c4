"""Detectors that keep training rows or class patterns: kNN, NNGuide, SHE and fDBD."""

from typing import Self

import numpy as np
from scipy.special import logsumexp

from offsite.evaluation.ood.detector import Detector, Training

_BLOCK = 2048


class Knn(Detector, name="knn", needs="embeddings", block=_BLOCK):
    """Distance to the k-th nearest training feature, both of unit length (Sun et al. 2022).

    The bank is thinned at random within classes and kept in float16; k shrinks with it, and is at
    most a twentieth of the bank (our construction; the detection is the same, ten times faster).
    """

    bank: np.ndarray
    neighbours: np.ndarray

    @classmethod
    def _of(cls, given: Training) -> Self:
        """Thin, normalise and keep the training features."""
        settings = given.settings
        rows = thinned(given.labels, settings.bank_rows, settings.seed)
        scaled = round(settings.neighbours * len(rows) / max(len(given.labels), 1))
        neighbours = max(1, min(scaled, len(rows) // 20))
        bank = unit(given.embeddings[rows]).astype(np.float16)
        return cls(bank=bank, neighbours=np.array(neighbours))

    def _score(self, embeddings: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """Distances in [0, 2]."""
        last = len(self.bank) - int(self.neighbours)
        cosine = unit(embeddings).astype(np.float32) @ self.bank.astype(np.float32).T
        kth = np.partition(cosine, last, axis=1)[:, last].astype(np.float64)
        return np.asarray(np.sqrt(np.maximum(2.0 - 2.0 * kth, 0.0)))


class NNGuide(Detector, name="nnguide", needs="embeddings logits", block=_BLOCK):
    """``-E(z) mean_k <z, E(z_i) z_i>`` over the k largest, unit z (Park, Jung and Teoh 2023).

    E is the negative energy, ``log sum_c exp(l_c)``; the bank is thinned like that of ``Knn``.
    """

    bank: np.ndarray
    neighbours: np.ndarray

    @classmethod
    def _of(cls, given: Training) -> Self:
        """Thin, normalise and weight the training features by their energy."""
        settings = given.settings
        rows = thinned(given.labels, settings.bank_rows, settings.seed)
        energy = logsumexp(np.asarray(given.logits[rows], np.float64), axis=1)
        bank = (unit(given.embeddings[rows]) * energy[:, None]).astype(np.float32)
        return cls(bank=bank, neighbours=np.array(min(settings.guide_neighbours, len(rows))))

    def _score(self, embeddings: np.ndarray, logits: np.ndarray) -> np.ndarray:
        last = len(self.bank) - int(self.neighbours)
        product = unit(embeddings).astype(np.float32) @ self.bank.T
        top = np.partition(product, last, axis=1)[:, last:]
        return np.asarray(-logsumexp(logits, axis=1) * top.mean(axis=1, dtype=np.float64))


class She(Detector, name="she", needs="embeddings logits"):
    """``-z' S_yhat``, S_c the mean of correctly classified training features (Zhang et al. 2023).

    A class none of whose rows is classified correctly takes its plain mean, an absent class the
    mean of all (our construction: the paper leaves both undefined).
    """

    patterns: np.ndarray

    @classmethod
    def _of(cls, given: Training) -> Self:
        """Average the stored patterns, C x E."""
        predicted = given.logits.argmax(axis=1)
        patterns = []
        for index in range(given.logits.shape[1]):
            of_class = given.labels == index
            used = next(
                (mask for mask in (of_class & (predicted == index), of_class) if mask.any()),
                np.ones(len(given.labels), dtype=bool),
            )
            patterns.append(np.asarray(given.embeddings[used], np.float64).mean(axis=0))
        return cls(patterns=np.stack(patterns))

    def _score(self, embeddings: np.ndarray, logits: np.ndarray) -> np.ndarray:
        return -np.einsum("nd,nd->n", embeddings, self.patterns[logits.argmax(axis=1)])


class Fdbd(Detector, name="fdbd", needs="embeddings logits head"):
    """Minus the mean distance to the decision boundaries over ``||z - mu||`` (Liu and Qin 2024).

    ``-1/(C-1) sum_{c != yhat} |l_yhat - l_c| / (||w_yhat - w_c|| ||z - mu||)``, mu the mean of
    the training features.
    """

    mean: np.ndarray
    gaps: np.ndarray

    @classmethod
    def _of(cls, given: Training) -> Self:
        """Keep the mean and the norms ``||w_a - w_b||``, C x C."""
        assert given.head is not None  # `fit` has looked
        difference = given.head.weight[:, None] - given.head.weight[None]
        return cls(
            mean=np.asarray(given.embeddings, np.float64).mean(axis=0),
            gaps=np.linalg.norm(difference, axis=2),
        )

    def _score(self, embeddings: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """Scores, non-positive."""
        rows, predicted = np.arange(len(logits)), logits.argmax(axis=1)
        gaps = self.gaps[predicted].copy()
        gaps[rows, predicted] = 1.0  # its own margin is 0, whatever it is divided by
        margins = np.abs(logits[rows, predicted][:, None] - logits) / np.maximum(gaps, 1e-12)
        spread = np.linalg.norm(embeddings - self.mean, axis=1)
        mean = margins.sum(axis=1) / (logits.shape[1] - 1)
        return np.asarray(-mean / np.maximum(spread, 1e-12))


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows divided by their length; a zero row stays zero.

    Examples
    --------
    >>> unit(np.array([[3.0, 4.0]])).round(3).tolist()
    [[0.6, 0.8]]
    """
    rows = np.asarray(rows, dtype=np.float64)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def thinned(labels: np.ndarray, limit: int, seed: int) -> np.ndarray:
    """Sorted indices of at most ``limit`` rows, each class in proportion and none lost."""
    labels = np.asarray(labels)
    if len(labels) <= limit:
        return np.arange(len(labels))
    generator = np.random.default_rng([seed, len(labels)])
    kept = []
    for value in np.unique(labels):
        of_class = np.flatnonzero(labels == value)
        size = max(1, int(limit * len(of_class) / len(labels)))
        kept.append(generator.choice(of_class, size=size, replace=False))
    return np.sort(np.concatenate(kept))
