"""Penalties on how risks or gradients differ between sites: VREx, IRM, Fishr."""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offsite.errors import InputError
from offsite.training.generalisation.objectives import SiteParts, SitePenalty, SiteRows
from offsite.training.generalisation.settings import GeneralisationSettings


class VREx(SitePenalty):
    """Variance of the sites' risks. Krueger et al. 2021, arXiv 2003.00688, equation 8."""

    DEFAULTS: ClassVar[tuple[float, float, float]] = (10.0, 0.1, 1.0)

    def penalty(self, sites: list[SiteRows], risks: Tensor, progress: float) -> Tensor:
        """Return the population variance of the risks."""
        return risks.var(correction=0)


class IRM(SitePenalty):
    """Squared gradient of each site's risk with respect to a scale of 1 on the logits, mean.

    Arjovsky et al. 2019, arXiv 1907.02893, section 3.1 (IRMv1), in the unbiased form of their
    appendix D: the product of the gradients of a site's two halves. A site with one item in the
    batch has no halves and is left out.
    """

    DEFAULTS: ClassVar[tuple[float, float, float]] = (100.0, 0.1, 1.0)

    def __init__(
        self,
        parts: SiteParts,
        *,
        weight: float = 100.0,
        start: float = 0.1,
        weight_before: float = 1.0,
    ) -> None:
        super().__init__(weight=weight, start=start, weight_before=weight_before)
        _needs_logits(parts.classifier, "IRM")
        self.loss = parts.loss

    @classmethod
    def _further(cls, parts: SiteParts, settings: GeneralisationSettings) -> dict[str, Any]:
        return {"parts": parts}

    def penalty(self, sites: list[SiteRows], risks: Tensor, progress: float) -> Tensor:
        """Return the mean product over sites; it may be below 0, its expectation is not."""
        if len(sites) < 2:
            return risks.new_zeros(())
        products = []
        for site in sites:
            if len(site.labels) < 2:
                continue
            wide = torch.promote_types(site.logits.dtype, torch.float32)
            scale = torch.ones((), dtype=wide, device=risks.device, requires_grad=True)
            scaled = site.logits.to(wide) * scale
            first, second = (
                torch.autograd.grad(
                    self.loss(scaled[half::2], site.labels[half::2], progress),
                    scale,
                    create_graph=True,
                )[0]
                for half in (0, 1)
            )
            products.append(first * second)
        return torch.stack(products).mean() if products else risks.new_zeros(())


class Fishr(SitePenalty):
    """Distance of each site's variance of classifier gradients from the mean over sites.

    Rame et al. 2022, arXiv 2109.02934, equation 4: per site, the variance over items of the
    gradient of cross-entropy with respect to the linear classifier, smoothed over steps; the mean
    over sites and entries of the squared distance. A smoothed value is divided by 1 - ``decay``, so
    that the gradient does not shrink with it, as the authors do. Sites are told apart: with all
    items in one group, as some benchmarks run it, the penalty would be 0.

    Parameters
    ----------
    classifier : nn.Module
        Linear; its size is read.
    n_sites : int
        Sites in training, numbered from 0.
    decay : float
        Of the smoothing, in [0, 1).

    Raises
    ------
    InputError
        Code ``unfit_head``: the classifier is not linear.
    """

    DEFAULTS: ClassVar[tuple[float, float, float]] = (1000.0, 0.3, 0.0)
    variance: Tensor

    def __init__(
        self,
        classifier: nn.Module,
        *,
        n_sites: int,
        weight: float = 1000.0,
        start: float = 0.3,
        weight_before: float = 0.0,
        decay: float = 0.95,
    ) -> None:
        super().__init__(weight=weight, start=start, weight_before=weight_before)
        if not isinstance(classifier, nn.Linear):
            raise InputError(
                "Fishr needs a linear classifier",
                remedy="Use the plain head or another algorithm",
                code="unfit_head",
            )
        self.decay = decay
        entries = classifier.out_features * (classifier.in_features + 1)
        self.register_buffer("variance", torch.zeros(n_sites, entries))

    @classmethod
    def _further(cls, parts: SiteParts, settings: GeneralisationSettings) -> dict[str, Any]:
        classifier, n_sites = parts.classifier, parts.n_sites
        return {"classifier": classifier, "n_sites": n_sites, "decay": settings.decay}

    def penalty(self, sites: list[SiteRows], risks: Tensor, progress: float) -> Tensor:
        """Return the mean squared distance of the smoothed variances from their mean."""
        smoothed = []
        for site in sites:
            if len(site.labels) < 2:
                continue
            new = gradient_variance(site.embedding, site.logits, site.labels)
            value = self.decay * self.variance[site.site] + (1 - self.decay) * new
            self.variance[site.site] = value.detach()
            smoothed.append(value / (1 - self.decay))
        if len(smoothed) < 2:
            return risks.new_zeros(())
        stacked = torch.stack(smoothed)
        return (stacked - stacked.mean(dim=0)).square().mean()


def gradient_variance(embedding: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """Return the variance over items of the gradient of cross-entropy in a linear classifier.

    Parameters
    ----------
    embedding, logits, labels : Tensor
        B x E, B x C, B, B >= 1.

    Returns
    -------
    Tensor
        C * (E + 1): population variances of the entries of the weight (row by row, each followed
        by its bias).

    Notes
    -----
    Item i's gradient is the outer product of p_i - onehot(y_i) and (e_i, 1): no loop over items.
    """
    error = logits.float().softmax(dim=1) - F.one_hot(labels, logits.shape[1])
    entry = torch.einsum("bc,be->bce", error, F.pad(embedding.float(), (0, 1), value=1.0))
    return entry.var(dim=0, correction=0).flatten()


def _needs_logits(classifier: nn.Module, name: str) -> None:
    if hasattr(classifier, "own_loss"):
        raise InputError(
            f"{name} needs a loss of logits, and this head brings its loss with it",
            remedy="Use a head with logits (plain or CORN) or another algorithm",
            code="unfit_head",
        )
