"""A classification loss from settings, with what it needs of the class counts."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from offsite.training.losses import imbalance
from offsite.training.losses.class_weights import (
    checked_counts,
    effective_number_weights,
    power_weights,
)
from offsite.training.losses.classification import cross_entropy
from offsite.training.losses.settings import LossSettings


class ClassificationLoss(nn.Module):
    """The loss that the settings describe.

    Parameters
    ----------
    settings : LossSettings
    counts : array
        C, training items of each class, all >= 1 (else `InputError` ``empty_class``). Not read by
        plain cross-entropy and focal loss.

    Attributes
    ----------
    class_weights : Tensor or None
        C, mean 1 over the training items; of ``ldam_drw`` those of its last stage.
    adjusts_prior : bool
        Whether the loss shifts logits by class counts.
    """

    class_weights: Tensor | None

    def __init__(self, settings: LossSettings, counts: np.ndarray) -> None:
        super().__init__()
        self.settings = settings
        kind = settings.kind or "cross_entropy"
        needs_all = kind not in ("cross_entropy", "focal")
        n = checked_counts(counts) if needs_all else np.asarray(counts, dtype=np.float64)
        weights = None
        if kind == "weighted":
            weights = power_weights(n, settings.weight_exponent)
        elif kind in ("effective_number", "ldam_drw"):
            weights = effective_number_weights(n, settings.beta)
        # Not persistent: they follow from the settings and the data, and are no weights.
        as_tensor = None if weights is None else torch.tensor(weights, dtype=torch.float32)
        self.register_buffer("class_weights", as_tensor, persistent=False)
        self.register_buffer("counts", torch.tensor(n, dtype=torch.float32), persistent=False)
        self.counts: Tensor
        self.adjusts_prior = kind in ("ldam_drw", "balanced_softmax", "logit_adjustment")
        self._loss: Callable[[Tensor, Tensor, float], Tensor] = getattr(self, f"_{kind}")

    def forward(self, logits: Tensor, labels: Tensor, progress: float) -> Tensor:
        """Return the mean loss of B x C logits and B labels (-1 = unlabelled)."""
        return self._loss(logits, labels, progress)

    def shifted(self, logits: Tensor) -> Tensor:
        """Return the logits (B x C, float32) whose plain cross-entropy is minimised.

        Those of a loss that shifts by class counts are shifted; LDAM's margin depends on the label
        and is none of it.
        """
        if self.settings.kind == "balanced_softmax":
            return logits.float() + self.counts.log()
        if self.settings.kind == "logit_adjustment":
            return logits.float() + self.settings.tau * self.counts.log()
        return logits.float()

    def _cross_entropy(self, logits: Tensor, labels: Tensor, progress: float) -> Tensor:
        return cross_entropy(logits, labels, label_smoothing=self.settings.label_smoothing)

    def _weighted(self, logits: Tensor, labels: Tensor, progress: float) -> Tensor:
        return cross_entropy(logits, labels, self.class_weights)

    _effective_number = _weighted

    def _focal(self, logits: Tensor, labels: Tensor, progress: float) -> Tensor:
        return imbalance.focal(logits, labels, self.settings.gamma)

    def _balanced_softmax(self, logits: Tensor, labels: Tensor, progress: float) -> Tensor:
        return imbalance.balanced_softmax(logits, labels, self.counts)

    def _logit_adjustment(self, logits: Tensor, labels: Tensor, progress: float) -> Tensor:
        return imbalance.logit_adjusted(logits, labels, self.counts, self.settings.tau)

    def _ldam_drw(self, logits: Tensor, labels: Tensor, progress: float) -> Tensor:
        # Deferred re-weighting (Cao et al. 2019, algorithm 1): weights in the last stage alone.
        weights = self.class_weights if progress >= self.settings.defer_until else None
        margins = imbalance.ldam_margins(self.counts, self.settings.margin)
        scaled = margins * self.settings.cosine_scale
        return imbalance.ldam(logits, labels, scaled, scale=1.0, class_weights=weights)
