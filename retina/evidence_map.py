"""Where in a photograph the network sees what speaks for referral, from the forward pass alone."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn


def evidence_maps(
    classifier: nn.Module, embeddings: np.ndarray, maps: np.ndarray, positive: Sequence[int]
) -> np.ndarray:
    """Share of each position of the last map in the log-odds of the positive classes.

    The embedding is the mean over the map, so what a position adds is the gradient of the log-odds at
    the embedding times the features of the position. With a linear head and two classes this is the
    class-activation map (Zhou et al. 2016, arXiv 1512.04150, equation 2) and the mean over the map
    is the log-odds but for the bias; with more classes, or another head, it is its first order, as
    Grad-CAM's (Selvaraju et al. 2017, arXiv 1610.02391) without its average over places.

    Parameters
    ----------
    classifier : nn.Module
        ``classifier(B x E) -> B x C`` logits.
    embeddings : numpy.ndarray
        N x E.
    maps : numpy.ndarray
        N x E x h x w, whose mean over h x w is the embedding.
    positive : sequence of int
        Indices of the classes that call for referral; neither none nor all.

    Returns
    -------
    numpy.ndarray
        float32, N x h x w, log-odds; above 0: speaks for the positive classes.
    """
    device = next(classifier.parameters()).device
    with torch.enable_grad():
        inner = torch.tensor(embeddings, device=device, requires_grad=True)
        chances = torch.log_softmax(classifier(inner).double(), dim=1)
        counted = torch.zeros(chances.shape[1], dtype=torch.bool, device=device)
        counted[list(positive)] = True
        odds = chances[:, counted].logsumexp(1) - chances[:, ~counted].logsumexp(1)
        (slope,) = torch.autograd.grad(odds.sum(), inner)
    return np.einsum("ne,nehw->nhw", slope.float().cpu().numpy(), maps)
