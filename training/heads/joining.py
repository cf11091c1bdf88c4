"""A linear head fitted again to other sums than it was: hospitals joined, or left."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from offsite.training.heads.sums import RowSums


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadOfRun:
    """The linear head of a finished run, and what it was fitted to.

    Attributes
    ----------
    weights : path
        ``weights.safetensors`` of the run.
    architecture : mapping
        As ``run.json`` tells it.
    sums : RowSums
        Of the rows that it was fitted to, weighing what they weighed.
    penalty : float
    """

    weights: Path
    architecture: Mapping[str, Any]
    sums: "RowSums"
    penalty: float


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownRows:
    """The rows that the run itself has, training and others.

    Attributes
    ----------
    embeddings : numpy.ndarray
        N x E, what the head reads.
    labels : numpy.ndarray
        N, int in 0..C-1, -1 where unknown.
    validation : numpy.ndarray
        N booleans: of training sites, and never fitted to.
    """

    embeddings: np.ndarray
    labels: np.ndarray
    validation: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class RefittedHead:
    """The network with its new head, and its answers.

    Attributes
    ----------
    weights : mapping of str to Tensor
        Of the whole network.
    logits : numpy.ndarray
        N x C, of the rows that the run has.
    """

    weights: "Mapping[str, Tensor]"
    logits: np.ndarray


class RefitHead(Protocol):
    """Fits the head of a run of method `linear` to other sums, with the penalty it had."""

    def __call__(self, head: HeadOfRun, sums: "RowSums", rows: KnownRows) -> RefittedHead:
        """Return the new head; ``sums`` are weighed as for a fit."""
