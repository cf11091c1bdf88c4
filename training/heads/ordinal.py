"""Heads for ordered grades, and cut-points that turn a real-valued grade into classes.

Both heads give B x C logits whose softmax is the class probabilities, so everything downstream of
a head stays as it is for nominal classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offsite.training.heads.cut_points import CutPoints
from offsite.training.losses.ordinal import grade_error


class CornHead(nn.Module):
    """Conditional thresholds: P(y > k) = prod_{j <= k} sigmoid(logit_j), always falling in k.

    Shi, Cao and Raschka 2023, arXiv 2111.08851. Cross-entropy on its logits is their loss up to a
    divisor (`offsite.training.losses.ordinal.corn`).

    Parameters
    ----------
    features, n_classes : int
        E and C >= 2.
    """

    def __init__(self, features: int, n_classes: int) -> None:
        super().__init__()
        self.thresholds = nn.Linear(features, n_classes - 1)

    def forward(self, embedding: Tensor) -> Tensor:
        """Return B x C log probabilities."""
        z = self.thresholds(embedding).float()
        passed = F.pad(F.logsigmoid(z).cumsum(dim=1), (1, 0))  # log P(y > k - 1)
        stopped = F.pad(F.logsigmoid(-z), (0, 1))  # log P(y = k | y > k - 1); certain at the top
        return passed + stopped


class GradeHead(nn.Module):
    """One real-valued grade, cut into classes: adjacent logits differ by (grade - cut) / scale.

    The largest logit is thus the class between whose cut-points the grade lies. Training fits the
    grade alone (`own_loss`); the cut-points, at first halfway between grades, are set afterwards by
    `set_cut_points`.

    Parameters
    ----------
    features, n_classes : int
        E and C >= 2.
    """

    cuts: Tensor
    scale: Tensor

    def __init__(self, features: int, n_classes: int) -> None:
        super().__init__()
        self.grade_of = nn.Linear(features, 1)
        nn.init.constant_(self.grade_of.bias, (n_classes - 1) / 2)
        self.register_buffer("cuts", torch.arange(n_classes - 1) + 0.5)
        self.register_buffer("scale", torch.tensor(0.5))

    def grade(self, embedding: Tensor) -> Tensor:
        """Return B real-valued grades."""
        return self.grade_of(embedding)[:, 0].float()

    def forward(self, embedding: Tensor) -> Tensor:
        """Return B x C logits."""
        steps = (self.grade(embedding)[:, None] - self.cuts) / self.scale
        return F.pad(steps.cumsum(dim=1), (1, 0))

    def own_loss(self, embedding: Tensor, labels: Tensor) -> Tensor:
        """Return the loss that fits the grade; it is used instead of the classification loss."""
        return grade_error(self.grade(embedding), labels)

    def set_cut_points(self, cut_points: "CutPoints") -> None:
        """Use fitted cut-points from now on."""
        self.cuts.copy_(torch.tensor(cut_points.cuts))
        self.scale.fill_(cut_points.scale)
