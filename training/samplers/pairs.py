"""Batches of pairs: an anchor and a partner, as a rule from another site."""

from typing import Any

import numpy as np

from offsite.training.randomness import generator
from offsite.training.samplers.plans import BatchPlan, Indices


class PairBatches:
    """Pairs (anchor, partner) for algorithms that mix an image with one of another site.

    A batch is a B x 2 array; its rows are dealt to ranks as items are. The anchors are those of
    any other plan. A partner's site is uniform over the other sites, the partner uniform within it
    (Yao et al. 2023, "TALLY", with the sites kept apart, as Xia et al. 2024, arXiv 2406.06384,
    figure 1, draw it). With one site the partner is another item of it; with one item, itself.

    Parameters
    ----------
    anchors : BatchPlan
        Batches of anchors: `weighted.WeightedBatches` with exponent 0 over classes for TALLY.
    sites : array
        N, the site of each item; pseudo-sites where there is but one hospital.
    seed : int
        Seed of the partners.
    other_site : bool
        False lets the partner's site be the anchor's, as in the released code of TALLY.
    """

    def __init__(
        self, anchors: BatchPlan, sites: Any, seed: int = 0, *, other_site: bool = True
    ) -> None:
        self.anchors, self.seed, self.other_site = anchors, seed, other_site
        _, self.site = np.unique(np.asarray(sites), return_inverse=True)
        self.by_site = np.argsort(self.site, kind="stable")
        self.size = np.bincount(self.site)
        self.start = np.cumsum(self.size) - self.size
        self.rank_in_site = np.empty(len(self.site), dtype=np.int64)
        self.rank_in_site[self.by_site] = (
            np.arange(len(self.site)) - self.start[self.site[self.by_site]]
        )

    def steps(self, epoch: int) -> int:
        """Return the number of batches of an epoch."""
        return self.anchors.steps(epoch)

    def batches(self, epoch: int) -> list[Indices]:
        """Return the batches of an epoch, each B x 2: anchor, partner."""
        rng = generator(self.seed, epoch, 1)  # not the stream that drew the anchors
        return [
            np.stack([anchors, self._partners(anchors, rng)], axis=1)
            for anchors in self.anchors.batches(epoch)
        ]

    def _partners(self, anchors: Indices, rng: np.random.Generator) -> Indices:
        anchor_site, n_sites = self.site[anchors], len(self.size)
        if self.other_site and n_sites > 1:
            site = (anchor_site + rng.integers(1, n_sites, len(anchors))) % n_sites
        else:
            site = rng.integers(0, n_sites, len(anchors))
        # Within the anchor's site one item fewer is drawn from, and the anchor's is skipped.
        alone = (site == anchor_site) & (self.size[site] > 1)
        rank = (rng.random(len(anchors)) * (self.size[site] - alone)).astype(np.int64)
        rank += alone & (rank >= self.rank_in_site[anchors])
        return self.by_site[self.start[site] + rank]
