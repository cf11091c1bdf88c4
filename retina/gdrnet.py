"""GDRNet: artefact views, a self-supervised loss that fades, and class-and-site weights.

Che et al. 2023, MICCAI, arXiv 2307.04378, sections 2.1 to 2.3; constants as in its public code.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from offsite.retina.networks.classifier import FundusClassifier, network_state
from offsite.retina.photographs.batches import PhotographBatch
from offsite.retina.settings import GdrnetSettings
from offsite.training.devices.distributed import gather
from offsite.training.generalisation.erm import ERM
from offsite.training.losses.configured import ClassificationLoss
from offsite.training.losses.contrastive import mean_over_valid_anchors
from offsite.training.losses.settings import LossSettings


class Gdrnet(ERM):
    """GDRNet on a classifier: (1 - a) L_sup + a L_unsup / s, a = 1 - progress.

    L_sup is cross-entropy on the artefact view, weighted by w_site w_class with w = 1 / share^beta;
    L_unsup contrasts the two views of a photograph with all others of the batch.

    Parameters
    ----------
    network : FundusClassifier
        What is trained.
    settings : GdrnetSettings
        Constants.
    class_counts, site_counts : numpy.ndarray
        Training photographs of each class (C) and site (D).
    """

    class_weights: Tensor
    site_weights: Tensor

    def __init__(
        self,
        network: FundusClassifier,
        settings: GdrnetSettings,
        class_counts: np.ndarray,
        site_counts: np.ndarray,
    ) -> None:
        plain = ClassificationLoss(LossSettings.model_validate({}), class_counts)
        super().__init__(network.backbone, network.classifier, plain)
        self.settings = settings
        self.register_buffer("class_weights", smoothed_weights(class_counts, settings.smoothing))
        self.register_buffer("site_weights", smoothed_weights(site_counts, settings.smoothing))

    def inference_state(self) -> dict[str, Tensor]:
        """Return the network's weights."""
        return network_state(self)

    def step(self, batch: PhotographBatch, progress: float) -> dict[str, Tensor]:
        """Return the losses of photographs in two views (``batch.second``: with artefacts)."""
        if batch.second is None:
            raise ValueError("GDRNet needs a second view of each photograph")
        embedding = self.backbone(torch.cat([batch.pixels, batch.second]))
        first, other = (gather(half) for half in embedding.chunk(2))
        labels, sites = gather(batch.labels), gather(batch.sites)
        supervised = self._supervised(self.classifier(other), labels, sites)
        contrast = view_contrast(first, other, self.settings.temperature)
        fading = 1 - progress
        loss = (1 - fading) * supervised + fading * contrast / self.settings.scale
        return {"loss": loss, "supervised": supervised, "contrast": contrast}

    def _supervised(self, logits: Tensor, labels: Tensor, sites: Tensor) -> Tensor:
        each = F.cross_entropy(logits.float(), labels, reduction="none")
        site, label = self.site_weights[sites], self.class_weights[labels]
        return (site * label * each).mean() / (site.mean() * label.mean())


def smoothed_weights(counts: np.ndarray, smoothing: float) -> Tensor:
    """Return 1 / p with p = share^smoothing / sum; 1 for what has no photograph.

    Examples
    --------
    >>> [round(weight, 2) for weight in smoothed_weights(np.array([90, 10]), 0.5).tolist()]
    [1.33, 4.0]
    """
    n = np.asarray(counts, dtype=float)
    share = np.where(n > 0, n / n.sum(), 1.0) ** smoothing
    share = np.where(n > 0, share / share[n > 0].sum(), 1.0)
    return torch.tensor(1 / share, dtype=torch.float32)


def view_contrast(first: Tensor, other: Tensor, temperature: float) -> Tensor:
    """Return the contrastive loss of two views (Chen et al. 2020, arXiv 2002.05709), scaled.

    The scale temperature / 0.07 is that of the supervised contrastive code that GDRNet builds on.

    Parameters
    ----------
    first, other : Tensor
        B x E, row i of both from one photograph.
    """
    z = F.normalize(torch.cat([first, other]).float(), dim=1)
    similarity = z @ z.T / temperature
    items = len(first)
    itself = torch.eye(2 * items, dtype=torch.bool, device=z.device)
    log_share = similarity - similarity.masked_fill(itself, -torch.inf).logsumexp(1, keepdim=True)
    loss, _ = mean_over_valid_anchors(log_share, itself.roll(items, dims=1))
    return loss * temperature / 0.07
