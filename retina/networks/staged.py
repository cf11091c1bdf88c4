"""A network in stages that a method can step between: what all backbones have in common."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

Stage = Callable[[Tensor], Tensor]


class Backbone(nn.Module):
    """A convolutional network as a stem and four stages.

    Parameters
    ----------
    net : nn.Module
        Holds the layers under their usual names.
    stages : sequence of callables
        The stem with the first stage's predecessor, then the stages; each maps features to
        features and uses layers of ``net`` alone.
    dimensions : int
        Channels E of the last stage.
    split_after : int
        Stage that ends `early`; 0 is the stem.
    first_layers : tuple of str
        Names, within this module, of the layers that end the first and the second stage.
    """

    def __init__(
        self,
        net: nn.Module,
        stages: Sequence[Stage],
        dimensions: int,
        split_after: int,
        first_layers: tuple[str, ...],
    ) -> None:
        super().__init__()
        self.net = net
        self.first_layers = first_layers
        self.dimensions = dimensions
        self._early, self._late = list(stages[: split_after + 1]), list(stages[split_after + 1 :])
        self.rate_by_depth = 1.0
        self._depths = _depths(net)
        self._plain_memory = any(_crashes_channels_last(layer) for layer in net.modules())

    def early(self, pixels: Tensor) -> Tensor:
        """Return the features after the split stage: B x K x h x w of B x 3 x H x W."""
        return through(self._early, pixels.contiguous() if self._plain_memory else pixels)

    def late(self, features: Tensor) -> Tensor:
        """Return the last stage's features (B x E x h' x w') of the split stage's."""
        return through(self._late, features)

    def pool(self, features: Tensor) -> Tensor:
        """Return B x E: the mean over the map."""
        return features.mean(dim=(2, 3))

    @contextmanager
    def watched(self) -> Iterator[list[list[Tensor]]]:
        """Keep what each stage gives meanwhile: for each a list of B x K, means over the map."""
        seen: list[list[Tensor]] = [[] for _ in (*self._early, *self._late)]

        def kept(stage: Stage, means: list[Tensor]) -> Stage:
            def watched(features: Tensor) -> Tensor:
                given = stage(features)
                means.append(given.detach().flatten(2).mean(dim=2).float().cpu())
                return given

            return watched

        stages = self._early, self._late
        cut = len(self._early)
        self._early = [kept(*both) for both in zip(stages[0], seen[:cut], strict=True)]
        self._late = [kept(*both) for both in zip(stages[1], seen[cut:], strict=True)]
        try:
            yield seen
        finally:
            self._early, self._late = stages

    def rate_of(self, name: str) -> float:
        """Return the factor of the learning rate of a parameter of this module.

        The last part of the network has ``rate_by_depth``, the one before it its square, and so on.
        """
        part = _part(name.removeprefix("net."), self.net)
        return self.rate_by_depth ** self._depths[part]

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the embedding, B x E."""
        return self.pool(self.late(self.early(pixels)))


def _part(name: str, net: nn.Module) -> str:
    """The part of a network that a parameter belongs to: a child, or an item of a list of them."""
    first, _, rest = name.partition(".")
    child = getattr(net, first)
    items = child.children() if isinstance(child, nn.ModuleList | nn.Sequential) else ()
    if any(len(list(item.children())) for item in items):  # of blocks, not of plain layers
        return f"{first}.{rest.partition('.')[0]}"
    return first


def _depths(net: nn.Module) -> dict[str, int]:
    """How far each part of a network that has parameters lies from its end, from 1."""
    parts = list(dict.fromkeys(_part(name, net) for name, _ in net.named_parameters()))
    return {part: len(parts) - number for number, part in enumerate(parts)}


def _crashes_channels_last(layer: nn.Module) -> bool:
    """Whether oneDNN writes past its memory here: the gradient of a 1 x 1 kernel with a stride.

    Seen with oneDNN 3.12 on processors with AVX2 alone, for pictures stored channels last and
    input channels that do not fill a block of eight: the process ends by a signal.
    """
    return (
        isinstance(layer, nn.Conv2d)
        and layer.kernel_size == (1, 1)
        and layer.stride != (1, 1)
        and layer.in_channels % 8 != 0
    )


def through(stages: Iterable[Stage], features: Tensor) -> Tensor:
    """Return what stages one after the other make of features."""
    for stage in stages:
        features = stage(features)
    return features
