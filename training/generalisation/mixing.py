"""MixStyle of feature statistics, and what all mixing draws: partners and shares."""

from collections.abc import Iterable
from typing import Any, Self

import torch
from torch import Tensor, nn

from offsite.errors import InputError
from offsite.training.devices.distributed import draw_together, gather
from offsite.training.generalisation.erm import ERM, Parts
from offsite.training.generalisation.settings import GeneralisationSettings
from offsite.training.losses.configured import ClassificationLoss


def partners(sites: Tensor | None, n: int, *, other_site: bool) -> Tensor:
    """Return for each of ``n`` items a random other one, of another site where there is one.

    Without sites, or with ``other_site`` off, each item is one's partner once (a permutation).

    Parameters
    ----------
    sites : Tensor or None
        n, int64.
    """
    if sites is None or not other_site:
        return torch.randperm(n)
    other = sites.cpu()[:, None] != sites.cpu()[None, :]
    lonely = ~other.any(dim=1, keepdim=True)
    allowed = other | (lonely & ~torch.eye(n, dtype=torch.bool))
    return torch.where(allowed, torch.rand(n, n), -1.0).argmax(dim=1)


def style_draws(
    sites: Tensor | None,
    n: int,
    settings: GeneralisationSettings,
    together: int = 1,
) -> tuple[Tensor, Tensor] | None:
    """Return whose statistics each item is mixed with, or None for a batch that stays as it is.

    Drawn once for the global batch, so that any number of processes mixes the same items alike.

    Parameters
    ----------
    sites : Tensor or None
        n, int64, of this process's items; None mixes at random.
    n : int
        Items here, >= 1.
    settings : GeneralisationSettings
        ``probability`` (share of the batches that are mixed), ``alpha`` and ``other_site``.
    together : int
        Neighbouring items that are views of one.

    Returns
    -------
    tuple of Tensor
        n, int64, the partner's place in the global batch; n, float32, the item's own share,
        in 0..1.
    """
    everyone = None if sites is None else gather(sites, together)

    def draw(total: int) -> Tensor:
        if float(torch.rand(())) >= settings.probability or total < 2:
            return torch.full((total, 2), torch.nan, dtype=torch.float64)
        partner = partners(everyone, total, other_site=settings.other_site)
        return torch.stack([partner.double(), beta_draws(settings.alpha, total).double()], dim=1)

    partner, share = draw_together(draw, n, together).unbind(dim=1)
    return None if bool(share.isnan().any()) else (partner.long(), share.float())


class MixStyle(nn.Module):
    """Mixes the channel statistics of feature maps with a partner's; without weights.

    Zhou et al. 2021, arXiv 2104.02008, equations 3 to 5: x -> s' (x - m) / s + m', where m', s' are
    convex combinations of the item's and the partner's mean and deviation over height and width, all
    detached. Active in training alone, on a share of the batches. The batch may be of any size
    and any mixture of sites.

    Parameters
    ----------
    probability : float
        Share of the training batches that are mixed.
    alpha : float
        Of the Beta(alpha, alpha) of each image's share, > 0.
    other_site : bool
        Whether partners come from another site; needs `attend_to` before each forward pass.
    """

    def __init__(
        self, probability: float = 0.5, alpha: float = 0.1, *, other_site: bool = True
    ) -> None:
        super().__init__()
        self.settings = GeneralisationSettings(
            kind="mixstyle", probability=probability, alpha=alpha, other_site=other_site
        )
        self._sites: Tensor | None = None

    def attend_to(self, sites: Tensor | None) -> None:
        """Tell the sites (B, int64) of the next batch; None mixes at random."""
        self._sites = sites

    def forward(self, maps: Tensor) -> Tensor:
        """Return B x K x H x W maps with mixed statistics."""
        drawn = style_draws(self._sites, len(maps), self.settings) if self.training else None
        if drawn is None:
            return maps
        with torch.no_grad():
            partner, share = drawn[0].to(maps.device), drawn[1].to(maps.device)
            share = share.reshape(-1, 1, 1, 1)
            deviation, mean = torch.std_mean(maps.float(), dim=(2, 3), keepdim=True)
            deviation = (deviation.square() + 1e-6).sqrt()
            new_mean = share * mean + (1 - share) * gather(mean)[partner]
            new_deviation = share * deviation + (1 - share) * gather(deviation)[partner]
        mixed = (maps.float() - mean) / deviation * new_deviation + new_mean
        return mixed.to(maps.dtype)


class MixStyleERM(ERM):
    """ERM over a backbone with `MixStyle` modules, which it tells the sites of each batch.

    `attach` puts the modules behind layers of any backbone; they change neither the names of its
    weights nor its output at inference.
    """

    def __init__(
        self, backbone: nn.Module, classifier: nn.Module, loss: ClassificationLoss
    ) -> None:
        super().__init__(backbone, classifier, loss)
        self.mixers = [module for module in backbone.modules() if isinstance(module, MixStyle)]
        if not self.mixers:
            raise InputError(
                "the backbone holds no MixStyle module",
                remedy="Put one behind an early layer with offsite.training.generalisation.mixing.attach",
                code="no_mixstyle",
            )

    @classmethod
    def from_settings(cls, parts: Parts, settings: GeneralisationSettings) -> Self:
        """Return the algorithm, with a module behind each of the ``layers``."""
        mixer = MixStyle(settings.probability, settings.alpha, other_site=settings.other_site)
        attach(parts.backbone, settings.layers, mixer)
        return super().from_settings(parts, settings)

    def step(self, batch: Any, progress: float) -> dict[str, Tensor]:
        """Return the classification loss of the style-mixed batch."""
        for mixer in self.mixers:
            mixer.attend_to(batch.sites)
        losses = super().step(batch, progress)
        for mixer in self.mixers:
            mixer.attend_to(None)
        return losses


def attach(network: nn.Module, layers: Iterable[str], mixer: MixStyle) -> None:
    """Let ``mixer`` act on the output of each named layer, such as ``["layer1", "layer2"]``.

    Raises
    ------
    InputError
        Code ``no_layer``: the network has no such layer.
    """
    known = dict(network.named_modules())
    for name in layers:
        if name not in known:
            raise InputError(
                f"the network has no layer '{name}'",
                remedy=f"Name some of: {', '.join(n for n, _ in network.named_children())}",
                code="no_layer",
            )
        known[name].register_forward_hook(lambda module, given, output: mixer(output))
    network.add_module("style_mixer", mixer)


def beta_draws(alpha: float, n: int) -> Tensor:
    """Return n draws of Beta(alpha, alpha), float32, from torch's generator on the CPU."""
    return torch.distributions.Beta(torch.tensor(alpha), torch.tensor(alpha)).sample((n,))
