"""Pixel-level alignment of semantics, DECO's robust semantic alignment; our construction."""

import torch
import torch.nn.functional as F
from torch import Tensor

from offsite.retina.deco.decoupling import decouple
from offsite.training.losses.contrastive import mean_over_valid_anchors


def semantic_directions(features: Tensor) -> Tensor:
    """Return u: the instance-normalised features with unit length over channels at each pixel."""
    return F.normalize(decouple(features).semantics, dim=1)


def pixel_alignment(original: Tensor, augmented: Tensor, margin: float) -> Tensor:
    """Return mean over photographs and pixels of [1 - <u(p), u~(p)> - margin]_+.

    Both maps are of the same photographs, so pixel p shows the same spot in both. The margin leaves
    pixels that agree well enough alone.

    Parameters
    ----------
    original, augmented : Tensor
        Directions, B x E x h x w.
    """
    return F.relu(1 - (original * augmented).sum(1) - margin).mean()


def class_alignment(
    directions: Tensor, labels: Tensor, sites: Tensor, temperature: float
) -> Tensor:
    """Return a supervised contrastive loss between photographs, free of spatial alignment.

    sim(i, k) = mean over pixels p of i of the largest <u_i(p), u_k(q)> over pixels q of k.
    Positives share the grade and come from another site (from any, where there is one site).

    Parameters
    ----------
    directions : Tensor
        B x E x h x w.
    labels, sites : Tensor
        B, int64.
    """
    flat = directions.flatten(2).transpose(1, 2)  # B x P x E
    items, pixels, channels = flat.shape
    every = flat.reshape(-1, channels)
    matches = (every @ every.T).view(items, pixels, items, pixels)
    similarity = matches.amax(3).mean(1) / temperature
    itself = torch.eye(items, dtype=torch.bool, device=labels.device)
    others = similarity.masked_fill(itself, -torch.inf) if items > 1 else similarity
    log_share = similarity - others.logsumexp(1, keepdim=True)
    positive = (labels[:, None] == labels[None]) & ~itself & (labels >= 0)[:, None]
    elsewhere = sites[:, None] != sites[None]
    positive = torch.where(elsewhere.any(), positive & elsewhere, positive)
    return mean_over_valid_anchors(log_share, positive)[0]
