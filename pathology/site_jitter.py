"""Bags as another site might have given them: a random gain and offset of each feature."""

import torch
from torch import Tensor

from offsite.training.devices.distributed import draw_together


def site_jittered(rows: Tensor, offsets: Tensor, strength: float, views: int = 1) -> Tensor:
    """Return instances whose features are scaled and shifted anew for each bag (or view of one).

    Stain and scanner move all tiles of a slide together, so the draw is the bag's and not the
    instance's. A feature x becomes x exp(s g) + s h with g and h standard normal. What contrast
    then holds together are views of a slide under different stains. Our construction.

    Parameters
    ----------
    rows : Tensor
        N x D, standardised: unit deviation over the training instances.
    offsets : Tensor
        B + 1, int64: bag b owns rows ``offsets[b]:offsets[b + 1]``.
    strength : float
        s, standard deviations, >= 0.
    views : int
        Neighbouring bags that are views of one; each has a draw of its own.
    """
    sizes = offsets[1:] - offsets[:-1]
    n_features = rows.shape[1]
    drawn = draw_together(lambda n: torch.randn(n, 2 * n_features), len(sizes), views)
    gain, shift = (strength * drawn.to(rows)).split(n_features, dim=1)
    bag = torch.repeat_interleave(
        torch.arange(len(sizes), device=rows.device), sizes.to(rows.device)
    )
    return rows * gain.exp()[bag] + shift[bag]
