"""The linear head of slides fitted to the sums of other hospitals than it was."""

import numpy as np
import torch

from offsite.pathology.inference import load_slide_model
from offsite.pathology.linear_network import LinearSlides
from offsite.training.heads.joining import HeadOfRun, KnownRows, RefittedHead
from offsite.training.heads.sums import RowSums, fit_targets


@torch.inference_mode()
def refit_head(head: HeadOfRun, sums: RowSums, rows: KnownRows) -> RefittedHead:
    """Fit an answer a class to the sums; see `offsite.training.heads.joining.RefitHead`.

    The scale and the shifts that make logits of the answers stay those of the run: they were fitted
    to answers of patients that were left out, which sums do not tell.
    """
    network = load_slide_model(head.weights, head.architecture)
    assert isinstance(network, LinearSlides)
    targets = np.eye(network.n_classes)
    ((before, start_before),) = fit_targets(head.sums, targets, [head.penalty])
    weights = network.classifier.weight.numpy().T.astype(np.float64)
    scale = float((weights * before).sum() / (before * before).sum())
    shifts = network.classifier.bias.numpy().astype(np.float64) - scale * start_before
    ((slopes, starts),) = fit_targets(sums, targets, [head.penalty])
    network.set_head(slopes * scale, starts * scale + shifts)
    logits = network.classifier(torch.from_numpy(rows.embeddings).float()).numpy()
    return RefittedHead(weights=network.state_dict(), logits=logits)
