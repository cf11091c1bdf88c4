"""Adapting the batch norms of the trunk's last two stages to photographs without labels."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from offsite.evaluation.statistics.feature_stats import FeatureStats
from offsite.training.trunk.network import Lite0
from offsite.training.trunk.reading import statistics_of
from offsite.training.trunk.settings import STAGE_CHANNELS, TrunkReadingSettings
from offsite.training.trunk.weights import trunk_state

BATCH, RATE, LEADING = 64, 1e-3, 64
LATE = 2 * sum(STAGE_CHANNELS[-2:])
"""Numbers that a head reads of the last two stages; they are its last ones."""
LAST_TWO = TrunkReadingSettings(stages="late")
Loss = Callable[[Tensor, Tensor], Tensor]


def fresh() -> Lite0:
    """Return the trunk with its batch norms, in evaluation mode."""
    net = Lite0()
    net.load_state_dict(trunk_state())
    return net.eval()


class LastTwo(nn.Module):
    """The trunk's last two stages, whose batch norms can be adapted; to the features of a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = fresh().stages[-2:]
        for parameter in self.parameters():
            parameter.requires_grad = False
        self.norms = [m for m in self.modules() if isinstance(m, nn.BatchNorm2d)]

    def forward(self, maps: Tensor) -> Tensor:
        """Return B x LATE statistics of the maps before the two stages."""
        first = self.stages[0](maps)
        seen = [first.new_zeros(1, 1, 1, 1)] * (len(STAGE_CHANNELS) - 2)
        return statistics_of([*seen, first, self.stages[1](first)], LAST_TWO)

    def take_statistics(self, batches: list[Tensor]) -> None:
        """Set the running statistics to those of the batches together."""
        for norm in self.norms:
            norm.reset_running_stats()
            norm.momentum = None
            norm.train()
        with torch.no_grad():
            for maps in batches:
                self(maps)
        for norm in self.norms:
            norm.eval()

    def adapt(self, batches: list[Tensor], early: list[Tensor], loss: Loss, head: nn.Module,
              *, own_statistics: bool) -> None:  # fmt: skip
        """Move gains and offsets of the norms by one pass of Adam."""
        moved = [part for norm in self.norms for part in (norm.weight, norm.bias)]
        for part in moved:
            part.requires_grad = True
        for norm in self.norms:
            norm.train(own_statistics)
            norm.momentum = 0.0  # what was there stays until the statistics are taken
        optimiser = torch.optim.Adam(moved, lr=RATE)
        for maps, before in zip(batches, early, strict=True):
            rows = torch.cat([before, self(maps)], dim=1)
            optimiser.zero_grad()
            loss(head(rows), rows).backward()
            optimiser.step()
        for part in moved:
            part.requires_grad = False
        for norm in self.norms:
            norm.eval()
        if own_statistics:
            self.take_statistics(batches)


def entropy(logits: Tensor, rows: Tensor) -> Tensor:
    """Return the mean entropy of the answers (Wang et al. 2021, arXiv 2006.10726)."""
    logs = logits.log_softmax(1)
    return -(logs.exp() * logs).sum(1).mean()


def cafa(stats: FeatureStats, scale: np.ndarray) -> Loss:
    """Return the loss of CAFA over class means and one shared, shrunken covariance.

    The mean over cases of log(D_h / sum of D_k over the other classes), D being the squared Mahalanobis
    distance from a class's mean and h the class that is called, on the leading components.
    """
    means = stats.means / scale
    within = stats.within / stats.n / np.outer(scale, scale)
    values, axes = np.linalg.eigh(within)
    axes = axes[:, ::-1][:, :LEADING] / np.sqrt(values[::-1][:LEADING])
    to = torch.tensor(axes / scale[:, None], dtype=torch.float32)
    centres = torch.tensor(means @ axes, dtype=torch.float32)

    def loss(logits: Tensor, rows: Tensor) -> Tensor:
        distance = ((rows @ to)[:, None] - centres).square().sum(2)
        called = logits.argmax(1, keepdim=True)
        own = distance.gather(1, called)[:, 0]
        return (own.log() - (distance.sum(1) - own).log()).mean()

    return loss
