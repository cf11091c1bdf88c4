"""DECO and its parent TALLY: grades that hold while the style of another site is put on.

DECO is Xia et al., MICCAI 2024, arXiv 2406.06384. This is a reconstruction from its abstract and
figure 1 and from TALLY (Yao et al., TMLR 2023): the weights' formula, the alignment loss, their
strengths and the schedule are not public, and are our construction where the settings say so.
"""

import numpy as np
import torch
from torch import Tensor

from offsite.errors import InputError
from offsite.retina.deco.alignment import class_alignment, pixel_alignment, semantic_directions
from offsite.retina.deco.decoupling import (
    Decoupled,
    Prototypes,
    decouple,
    rarity_weights,
    recombine,
    restandardised,
)
from offsite.retina.networks.classifier import FundusClassifier, network_state
from offsite.retina.networks.staged import Backbone
from offsite.retina.photographs.batches import PhotographBatch
from offsite.retina.settings import DecoSettings
from offsite.training.devices.distributed import draw_together, gather
from offsite.training.generalisation.erm import ERM
from offsite.training.losses.configured import ClassificationLoss


class Deco(ERM):
    """DECO on a classifier; see `DecoSettings` for the parts.

    For anchor i and partner j of another site, with features r parted into semantics z and style
    (mu, sigma), prototypes P and Q, shares lambda ~ Beta(alpha, alpha), max(lambda, 1 - lambda):
    a = lambda_c w_y, z~ = a z_i + (1 - a) P_y; b = lambda_d w_d, mu~ = b mu_j + (1 - b) Q_d(mu),
    sigma~ likewise; r~ = sigma~ z~ + mu~ keeps label y_i. The loss is CE(r~) + original_weight
    CE(r) + alignment L_RSA. At inference nothing of this runs: it is the plain network.

    Whatever the anchors are, photographs of class y come in the style of site s with weight
    original_weight q(s | y) unmixed, where q is the anchors' site, and (1 - q(s | y)) / (D - 1)
    mixed. With original_weight 1 / (D - 1) the sum depends on neither s nor y: a style that went
    with a class in training no longer does. A larger weight leaves some of the shortcut, a smaller
    one turns it round.

    Parameters
    ----------
    network : FundusClassifier
        What is trained.
    loss : ClassificationLoss
        Of logits and labels. With anchors balanced over classes it should be plain cross-entropy,
        or rare classes are corrected for twice (as in TALLY's code).
    settings : DecoSettings
        The parts.
    class_counts, site_counts : numpy.ndarray
        Training photographs of each class (C) and site (D), for the weights.
    px : int
        Side of the photographs, which gives the size of the class prototypes.

    Raises
    ------
    InputError
        Code ``map_too_small``: the last map has one pixel, and alignment compares pixels.
    """

    class_weights: Tensor
    site_weights: Tensor

    def __init__(
        self,
        network: FundusClassifier,
        loss: ClassificationLoss,
        settings: DecoSettings,
        class_counts: np.ndarray,
        site_counts: np.ndarray,
        px: int,
    ) -> None:
        super().__init__(network.backbone, network.classifier, loss)
        self.settings = settings
        self.original_weight = _original_weight(settings, site_counts)
        shape, last = _map_shapes(self._parted, px)
        if settings.alignment and last[1] * last[2] < 2:
            raise InputError(
                f"photographs of {px} px leave a map of one pixel, and alignment compares pixels",
                remedy="Prepare larger photographs, or set alignment to 0",
                code="map_too_small",
            )
        self.prototypes = Prototypes(len(class_counts), len(site_counts), shape, settings.momentum)
        for name, counts in (("class_weights", class_counts), ("site_weights", site_counts)):
            weights = rarity_weights(
                counts, settings.weighting, gamma=settings.gamma, beta=settings.beta
            )
            self.register_buffer(name, weights)

    @property
    def _parted(self) -> Backbone:
        assert isinstance(self.backbone, Backbone)
        return self.backbone

    def inference_state(self) -> dict[str, Tensor]:
        """Return the network's weights without prototypes."""
        return network_state(self)

    def step(self, batch: PhotographBatch, progress: float) -> dict[str, Tensor]:
        """Return the losses of a paired batch, or of a plain one, which warms the prototypes up."""
        if not batch.paired or not self.settings.mixes:
            return self._plain(batch.anchors, progress)
        features = self._parted.early(batch.pixels)
        parts = decouple(features)
        anchors = len(batch) // 2
        mixed = self._mixed(parts, batch, anchors)
        self.prototypes.update(parts, batch.labels, batch.sites)
        return self._losses(features[:anchors], mixed.to(features.dtype), batch.anchors, progress)

    def _plain(self, batch: PhotographBatch, progress: float) -> dict[str, Tensor]:
        features = self._parted.early(batch.pixels)
        if self.settings.mixes:
            self.prototypes.update(decouple(features.detach()), batch.labels, batch.sites)
        return {"loss": self._risk(self._parted.late(features), batch, progress)}

    def _risk(self, last: Tensor, batch: PhotographBatch, progress: float) -> Tensor:
        embedding = self._parted.pool(last)
        return self.risk(embedding, self.classifier(embedding), batch.labels, progress)

    def _mixed(self, parts: Decoupled, batch: PhotographBatch, anchors: int) -> Tensor:
        """Return r~ of the anchors, with the prototypes as they were before this batch."""
        labels, sites = batch.labels[:anchors], batch.sites[anchors:]
        shares = self._shares(anchors, parts.mean.device)
        semantics = parts.semantics[:anchors]
        if self.settings.class_prototypes:
            prototype, known = self.prototypes.of_classes(labels)
            keep = _kept(shares[:, 0] * self.class_weights[labels], known)
            semantics = keep * semantics + (1 - keep) * prototype
            if self.settings.restandardise:
                semantics = restandardised(semantics)
        if not self.settings.swap:
            return recombine(semantics, parts.mean[:anchors], parts.sd[:anchors])
        mean, sd = parts.mean[anchors:], parts.sd[anchors:]
        if self.settings.site_prototypes:
            site_mean, site_sd, known = self.prototypes.of_sites(sites)
            keep = _kept(shares[:, 1] * self.site_weights[sites], known)
            mean = keep * mean + (1 - keep) * site_mean
            sd = keep * sd + (1 - keep) * site_sd
        return recombine(semantics, mean, sd)

    def _shares(self, items: int, device: torch.device) -> Tensor:
        """B x 2 draws of max(lambda, 1 - lambda), lambda ~ Beta(alpha, alpha)."""
        alpha = torch.tensor(self.settings.mixing_alpha)
        beta = torch.distributions.Beta(alpha, alpha)
        draws = draw_together(lambda count: beta.sample((count, 2)), items)
        return torch.maximum(draws, 1 - draws).to(device)

    def _losses(
        self, features: Tensor, mixed: Tensor, batch: PhotographBatch, progress: float
    ) -> dict[str, Tensor]:
        if not (self.original_weight or self.settings.alignment):
            return {"loss": self._risk(self._parted.late(mixed), batch, progress)}
        # One batch through the last stages, so that batch normalisation sees one mixture.
        last = self._parted.late(torch.cat([features, mixed]))
        plain, augmented = (self._risk(half, batch, progress) for half in last.chunk(2))
        loss = augmented + self.original_weight * plain
        losses = {"augmented": augmented, "original": plain}
        if self.settings.alignment:
            anchor, partner = semantic_directions(last).chunk(2)
            pixel = pixel_alignment(anchor, partner, self.settings.margin)
            labels, sites = gather(batch.labels), gather(batch.sites)
            by_class = class_alignment(gather(anchor), labels, sites, self.settings.temperature)
            share = self.settings.pixel_share
            losses |= {"pixel_alignment": pixel, "class_alignment": by_class}
            loss = loss + self.settings.alignment * (share * pixel + (1 - share) * by_class)
        return {"loss": loss, **losses}


def _original_weight(settings: DecoSettings, site_counts: np.ndarray) -> float:
    if settings.original_weight is not None:
        return settings.original_weight
    others = int((np.asarray(site_counts) > 0).sum()) - 1
    return 1 / others if settings.swap and others > 1 else 1.0


def _kept(share: Tensor, known: Tensor) -> Tensor:
    """How much of itself an item keeps (B x 1 x 1 x 1): all where the prototype is not known."""
    return torch.where(known, share, 1.0).view(-1, 1, 1, 1)


@torch.no_grad()
def _map_shapes(backbone: Backbone, px: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Channels, height and width of the map at the split and of the last one."""
    training = backbone.training
    backbone.eval()
    device = next(backbone.parameters()).device
    early = backbone.early(torch.zeros(1, 3, px, px, device=device))
    late = backbone.late(early)
    backbone.train(training)
    first, last = tuple(early.shape[1:]), tuple(late.shape[1:])
    return (first[0], first[1], first[2]), (last[0], last[1], last[2])
