"""Bags with the statistics of another site's bag: MixStyle for sets of instances."""

import torch
from torch import Tensor

from offsite.training.aggregators.segments import segment_index, segment_mean
from offsite.training.devices.distributed import gather
from offsite.training.generalisation.mixing import style_draws
from offsite.training.generalisation.settings import GeneralisationSettings

_EPSILON = 1e-6


def mixed_bags(
    rows: Tensor, offsets: Tensor, sites: Tensor, settings: GeneralisationSettings, views: int = 1
) -> Tensor:
    """Return instances whose mean and deviation over the bag are mixed with a partner bag's.

    After Zhou et al. 2021, arXiv 2104.02008, equations 3 to 5, with the instances of a bag in the
    place of the pixels of a map: stain and scanner move the statistics of all tiles of a slide.
    Our construction. Statistics are detached; a share ``probability`` of the batches is mixed.

    Parameters
    ----------
    rows : Tensor
        N x D.
    offsets : Tensor
        B + 1, int64: bag b owns rows ``offsets[b]:offsets[b + 1]``.
    sites : Tensor
        B, int64: partners come from another one, where ``other_site`` is set and there is one.
    settings : GeneralisationSettings
        ``probability``, ``alpha`` and ``other_site``.
    views : int
        Neighbouring bags that are views of one.
    """
    drawn = style_draws(sites, len(offsets) - 1, settings, views)
    if drawn is None:
        return rows
    index = segment_index(offsets)
    with torch.no_grad():
        partner, share = drawn[0].to(rows.device), drawn[1].to(rows.device)[:, None]
        mean = segment_mean(rows, offsets)
        spread = segment_mean((rows - mean[index]).square(), offsets)
        deviation = (spread + _EPSILON).sqrt()
        new_mean = share * mean + (1 - share) * gather(mean, views)[partner]
        new_deviation = share * deviation + (1 - share) * gather(deviation, views)[partner]
    return ((rows - mean[index]) / deviation[index]) * new_deviation[index] + new_mean[index]
