"""CORAL: sites' embeddings with equal means and covariances."""

import itertools

import torch
from torch import Tensor

from offsite.training.generalisation.objectives import SitePenalty, SiteRows


class CORAL(SitePenalty):
    """Squared distance of means and covariances, mean over entries and over pairs of sites.

    Sun and Saenko 2016, arXiv 1607.01719, for covariances; the term of the means and the mean over
    entries are those of Gulrajani and Lopez-Paz 2021, arXiv 2007.01434. A site with one item in the
    batch has no covariance and is left out.
    """

    def penalty(self, sites: list[SiteRows], risks: Tensor, progress: float) -> Tensor:
        """Return the mean distance over the pairs of sites."""
        moments = [_moments(site.embedding) for site in sites if len(site.labels) > 1]
        distances = [
            (mean - other_mean).square().mean() + (covariance - other_covariance).square().mean()
            for (mean, covariance), (other_mean, other_covariance) in itertools.combinations(
                moments, 2
            )
        ]
        return torch.stack(distances).mean() if distances else risks.new_zeros(())


def _moments(embedding: Tensor) -> tuple[Tensor, Tensor]:
    with torch.autocast(embedding.device.type, enabled=False):
        rows = embedding.float()
        mean = rows.mean(dim=0)
        centred = rows - mean
        return mean, centred.T @ centred / (len(rows) - 1)
