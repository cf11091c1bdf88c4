"""GroupDRO: the risk of the sites that do worst."""

from typing import Self

import torch
from torch import Tensor

from offsite.training.generalisation.objectives import SiteObjective, SiteParts, SiteRows
from offsite.training.generalisation.settings import GeneralisationSettings


class GroupDRO(SiteObjective):
    """Sum of the sites' risks under weights that grow with them: q_d <- q_d exp(eta R_d) / sum.

    Sagawa et al. 2020, arXiv 1911.08731, algorithm 1. Sites absent from a batch keep their q.

    Parameters
    ----------
    n_sites : int
        Sites in training, numbered from 0.
    eta : float
        How fast the weights move.
    """

    site_weights: Tensor

    def __init__(self, *, n_sites: int, eta: float = 0.01) -> None:
        super().__init__()
        self.eta = eta
        self.register_buffer("site_weights", torch.full((n_sites,), 1 / n_sites))

    @classmethod
    def from_settings(cls, parts: SiteParts, settings: GeneralisationSettings) -> Self:
        """Return the objective with ``eta`` as set."""
        return cls(n_sites=parts.n_sites, eta=settings.eta)

    def forward(self, sites: list[SiteRows], risks: Tensor, progress: float) -> dict[str, Tensor]:
        """Move the weights, then return the weighted risk and the worst one."""
        present = torch.tensor([site.site for site in sites], device=risks.device)
        with torch.no_grad():
            self.site_weights[present] *= (self.eta * risks.detach()).exp()
            self.site_weights /= self.site_weights.sum()
            weights = self.site_weights[present].clone()
        return {"loss": (weights * risks).sum(), "risk": risks.mean(), "worst_risk": risks.max()}
