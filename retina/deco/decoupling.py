"""Semantics and style of feature maps: taken apart, mixed and put together again.

A map r (B x K x h x w) is parted per photograph and channel into statistics over its pixels, the
*style* (mean mu and standard deviation sigma), and what instance normalisation leaves, the
*semantics* z = (r - mu) / sigma. The mean of z over a map's pixels is zero, so pooled semantics say
nothing: prototypes of classes must be maps, and semantics must be compared pixel by pixel.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from offsite.retina.settings import Weighting
from offsite.training.devices import distributed

_EPSILON = 1e-6


class Decoupled(NamedTuple):
    """Semantics (B x K x h x w) and style: mean and standard deviation (B x K x 1 x 1)."""

    semantics: Tensor
    mean: Tensor
    sd: Tensor


def decouple(features: Tensor) -> Decoupled:
    """Part features into semantics and style, in float32 also under autocast."""
    with torch.autocast(features.device.type, enabled=False):
        wide = features.float()
        variance, mean = torch.var_mean(wide, dim=(2, 3), correction=0, keepdim=True)
        sd = torch.sqrt(variance + _EPSILON)
        return Decoupled((wide - mean) / sd, mean, sd)


def recombine(semantics: Tensor, mean: Tensor, sd: Tensor) -> Tensor:
    """Return sd * semantics + mean: the semantics seen in that style."""
    return sd * semantics + mean


def restandardised(semantics: Tensor) -> Tensor:
    """Return maps with unit standard deviation again: mixing two maps lowers it below one."""
    return decouple(semantics).semantics


def rarity_weights(
    counts: np.ndarray, rule: Weighting, *, gamma: float = 0.05, beta: float = 0.999
) -> Tensor:
    """Return w in (0, 1] for each class or site: larger, the rarer it is.

    DECO's figure gives the direction alone (arXiv 2406.06384, figure 1); the formulas are our
    construction.

    Parameters
    ----------
    counts : numpy.ndarray
        Training photographs of each; those of 0 get weight 1.
    rule : {"none", "power", "complement", "effective"}
        ``none``: 1 (TALLY). ``power``: (n_min / n)^gamma, so that gamma 0 is ``none``.
        ``complement``: (1 - share) / largest such. ``effective``: (1 - beta) / (1 - beta^n), over
        the largest (Cui et al. 2019, arXiv 1901.05555).

    Examples
    --------
    >>> [round(weight, 2) for weight in rarity_weights(np.array([900, 90, 10]), 'power', gamma=0.5).tolist()]
    [0.11, 0.33, 1.0]
    """
    n = np.asarray(counts, dtype=float)
    there = n > 0
    weights = np.ones(len(n))
    some = n[there]
    if rule == "power":
        weights[there] = (some.min() / some) ** gamma
    elif rule == "complement" and len(some) > 1:
        weights[there] = (1 - some / some.sum()) / (1 - some.min() / some.sum())
    elif rule == "effective":
        raw = (1 - beta) / (1 - beta**some)
        weights[there] = raw / raw.max()
    return torch.tensor(weights, dtype=torch.float32)


class Prototypes(nn.Module):
    """Running means of the semantics of each class and of the style of each site.

    Parameters
    ----------
    n_classes, n_sites : int
        C, D.
    shape : (int, int, int)
        K, h, w of the features.
    momentum : float
        m of new = m old + (1 - m) batch.

    Notes
    -----
    A class's mean is taken within each site first, and then over the batch's sites, so that no site
    stamps it; a site's within each class first (figure 1's "same class, different domains" and
    "same domain, different classes"). The running means are corrected for their start (as Adam's
    are), and one that has met no item yet is marked by mass 0; classes and sites that a batch lacks
    keep theirs. Sums are over all processes.
    """

    class_sum: Tensor
    class_mass: Tensor
    mean_sum: Tensor
    sd_sum: Tensor
    site_mass: Tensor

    def __init__(
        self, n_classes: int, n_sites: int, shape: tuple[int, int, int], momentum: float
    ) -> None:
        super().__init__()
        channels = shape[0]
        self.momentum = momentum
        self.register_buffer("class_sum", torch.zeros(n_classes, *shape))
        self.register_buffer("class_mass", torch.zeros(n_classes))
        self.register_buffer("mean_sum", torch.zeros(n_sites, channels, 1, 1))
        self.register_buffer("sd_sum", torch.zeros(n_sites, channels, 1, 1))
        self.register_buffer("site_mass", torch.zeros(n_sites))

    @torch.no_grad()
    def update(self, parts: Decoupled, labels: Tensor, sites: Tensor) -> None:
        """Take in a batch: parts of B features with their labels and sites (B, int64)."""
        known = (labels >= 0) & (sites >= 0)
        n_classes, n_sites = len(self.class_mass), len(self.site_mass)
        cell = labels[known] * n_sites + sites[known]
        one_hot = nn.functional.one_hot(cell, n_classes * n_sites).float()  # B x CD
        count = distributed.sum_over_ranks(one_hot.sum(0))
        filled = (count > 0).float().view(n_classes, n_sites)
        share = one_hot / count.clamp(min=1)

        def cell_means(values: Tensor) -> Tensor:
            total = torch.einsum("bc,b...->c...", share, values[known].detach())
            total = distributed.sum_over_ranks(total)
            return total.view(n_classes, n_sites, *values.shape[1:])

        by_class = _mean_of_filled(cell_means(parts.semantics), filled)
        style = torch.cat([parts.mean, parts.sd], dim=1)
        by_site = _mean_of_filled(cell_means(style).transpose(0, 1), filled.T)
        mean, sd = by_site.chunk(2, dim=1)
        has_class, has_site = filled.amax(1), filled.amax(0)
        self._move(self.class_sum, by_class, has_class)
        self._move(self.class_mass, torch.ones_like(has_class), has_class)
        self._move(self.mean_sum, mean, has_site)
        self._move(self.sd_sum, sd, has_site)
        self._move(self.site_mass, torch.ones_like(has_site), has_site)

    def _move(self, running: Tensor, new: Tensor, present: Tensor) -> None:
        step = (1 - self.momentum) * present.view(-1, *[1] * (running.ndim - 1))
        running.add_(step * (new - running))

    def of_classes(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps of the labels' classes (B x K x h x w), and which are known (B, bool)."""
        mass = self.class_mass[labels]
        return self.class_sum[labels] / _positive(mass), mass > 0

    def of_sites(self, sites: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean and sd of the sites (B x K x 1 x 1 each), and which are known (B, bool)."""
        mass = self.site_mass[sites]
        return (
            self.mean_sum[sites] / _positive(mass),
            self.sd_sum[sites] / _positive(mass),
            mass > 0,
        )


def _positive(mass: Tensor) -> Tensor:
    return torch.where(mass > 0, mass, 1.0).view(-1, 1, 1, 1)


def _mean_of_filled(cells: Tensor, filled: Tensor) -> Tensor:
    """Mean over the second axis of the cells that hold an item; 0 where none does."""
    weight = filled / filled.sum(1, keepdim=True).clamp(min=1)
    return torch.einsum("ij,ij...->i...", weight, cells)
