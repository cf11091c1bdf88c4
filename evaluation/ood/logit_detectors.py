"""Detectors of logits: MSP, maximum logit, energy, GEN, and ReAct's clipped energy."""

from typing import Self

import numpy as np
from scipy.special import logsumexp, softmax

from offsite.evaluation.ood.detector import Detector, Training


class Msp(Detector, name="msp", needs="probabilities"):
    """``-max_c p_c`` (Hendrycks and Gimpel 2017, "A baseline for detecting misclassified ...")."""

    def _score(self, embeddings: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """Scores in [-1, -1/C]."""
        return np.asarray(-softmax(logits, axis=1).max(axis=1))


class MaxLogit(Detector, name="max_logit", needs="logits"):
    """``-max_c l_c`` (Hendrycks et al. 2022, "Scaling out-of-distribution detection ...")."""

    def _score(self, embeddings: np.ndarray, logits: np.ndarray) -> np.ndarray:
        return -logits.max(axis=1)


class Energy(Detector, name="energy", needs="logits"):
    """``-T log sum_c exp(l_c / T)`` (Liu et al. 2020, "Energy-based out-of-distribution ...")."""

    temperature: np.ndarray

    @classmethod
    def _of(cls, given: Training) -> Self:
        """Only the temperature is kept."""
        return cls(temperature=np.array(given.settings.temperature))

    def _score(self, embeddings: np.ndarray, logits: np.ndarray) -> np.ndarray:
        return _energy(logits, float(self.temperature))


class Gen(Detector, name="gen", needs="probabilities"):
    """``sum_c p_c^g (1 - p_c)^g`` (Liu, Lochman and Zach 2023, "GEN: pushing the limits ...").

    The paper keeps the largest M probabilities of many; with a handful of classes M is all.
    """

    power: np.ndarray

    @classmethod
    def _of(cls, given: Training) -> Self:
        """Only the exponent is kept."""
        return cls(power=np.array(given.settings.gen_power))

    def _score(self, embeddings: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """Scores, non-negative."""
        p = softmax(logits, axis=1)
        return ((p * (1 - p)) ** float(self.power)).sum(axis=1)


class React(Detector, name="react", needs="embeddings head"):
    """Energy of ``W min(z, c) + b``, c a quantile of all training activations (Sun et al. 2021).

    Made for features behind a ReLU; where features are signed it clips the upper tail only.
    """

    ceiling: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    temperature: np.ndarray

    @classmethod
    def _of(cls, given: Training) -> Self:
        """The ceiling is the ``react_quantile`` of every activation of every row."""
        assert given.head is not None  # `fit` has looked
        settings = given.settings
        return cls(
            ceiling=np.array(np.quantile(given.embeddings, settings.react_quantile)),
            weight=given.head.weight,
            bias=given.head.bias,
            temperature=np.array(settings.temperature),
        )

    def _score(self, embeddings: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """The given logits are not used."""
        clipped = np.minimum(embeddings, self.ceiling)
        return _energy(clipped @ self.weight.T + self.bias, float(self.temperature))


def _energy(logits: np.ndarray, temperature: float) -> np.ndarray:
    return np.asarray(-temperature * logsumexp(logits / temperature, axis=1))
