"""Losses that let a rare class count for more: by focus, by margin, or by its prior.

All return the mean over labelled items (label -1 = unlabelled), in float32; 0 where none is.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offsite.training.losses.classification import cross_entropy


def focal(
    logits: Tensor, labels: Tensor, gamma: float = 2.0, class_weights: Tensor | None = None
) -> Tensor:
    """Return the focal loss, mean of -w_y (1 - p_y)^gamma log p_y; gamma = 0 is cross-entropy.

    Lin et al. 2017, arXiv 1708.02002, equation 5, with a softmax over C classes.

    Parameters
    ----------
    logits : Tensor
        B x C.
    labels : Tensor
        B, int64.
    gamma : float
        Focus on hard items, >= 0.
    class_weights : Tensor, optional
        C.
    """
    known = labels >= 0
    y = labels[known]
    log_p = F.log_softmax(logits[known].float(), dim=1).gather(1, y[:, None])[:, 0]
    # -expm1 keeps 1 - p exact, and the clamp the gradient of the power finite, as p goes to 1.
    each = -((-torch.expm1(log_p)).clamp(min=1e-12) ** gamma) * log_p
    if class_weights is not None:
        each = each * class_weights.float()[y]
    return each.sum() / known.sum().clamp(min=1)


def balanced_softmax(logits: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
    """Return cross-entropy on logits + log n_c; at inference the plain logits are used.

    Ren et al. 2020, arXiv 2007.10740, equation 4. Equal to `logit_adjusted` with tau = 1.
    """
    return cross_entropy(logits.float() + counts.float().log(), labels)


def logit_adjusted(logits: Tensor, labels: Tensor, prior: Tensor, tau: float = 1.0) -> Tensor:
    """Return cross-entropy on logits + tau log pi_c; at inference the plain logits are used.

    Menon et al. 2021, arXiv 2007.07314, equation 10.

    Parameters
    ----------
    prior : Tensor
        C, pi: training share of each class, or counts (a constant changes nothing).
    tau : float
        Strength; 1 is consistent for the balanced error.
    """
    return cross_entropy(logits.float() + tau * prior.float().log(), labels)


def adjust_logits(logits: Tensor, prior: Tensor, tau: float = 1.0) -> Tensor:
    """Return logits - tau log pi_c, for a model trained with plain cross-entropy (post hoc).

    Menon et al. 2021, arXiv 2007.07314, equation 9.
    """
    return logits - tau * prior.to(logits).log()


def ldam_margins(counts: Tensor, largest: float = 0.5) -> Tensor:
    """Return the margins D_c in proportion to n_c^(-1/4), the largest set to ``largest``.

    Cao et al. 2019, arXiv 1906.07413, equation 11.
    """
    margins = counts.float() ** -0.25
    return margins * (largest / margins.max())


def ldam(
    logits: Tensor,
    labels: Tensor,
    margins: Tensor,
    scale: float = 30.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Return cross-entropy on scale * (logits - D_y in the label's column).

    Cao et al. 2019, arXiv 1906.07413, equation 13. The margins assume logits that are cosines, as
    `CosineClassifier` gives with ``scale`` 1; then ``scale`` brings them to the range of logits.
    Where the classifier scales already, ``scale`` is 1 and the margins are scaled with it.
    """
    at_label = F.one_hot(labels.clamp(min=0), logits.shape[1]).to(torch.float32)
    shifted = logits.float() - at_label * margins.float()
    return cross_entropy(scale * shifted, labels, class_weights)


class CosineClassifier(nn.Module):
    """Linear classifier without bias on normalised rows and normalised input.

    Parameters
    ----------
    features, n_classes : int
        E and C.
    scale : float
        Factor of the cosines, so that their softmax can be sharp.
    """

    def __init__(self, features: int, n_classes: int, scale: float = 30.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_classes, features))
        self.reset_parameters()
        self.scale = scale

    def reset_parameters(self) -> None:
        """Draw the weights anew from torch's generator."""
        nn.init.xavier_uniform_(self.weight)

    def forward(self, embedding: Tensor) -> Tensor:
        """Return B x C scaled cosines."""
        return self.scale * F.normalize(embedding, dim=1) @ F.normalize(self.weight, dim=1).T
