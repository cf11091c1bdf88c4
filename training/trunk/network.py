"""EfficientNet-Lite0: a small convolutional network for processors, as a stem and seven stages.

EfficientNet-B0 (Tan and Le 2019, arXiv 1905.11946, table 1) without squeeze-and-excitation, with
ReLU6 for swish and the first and last layer of fixed width, as its authors published it under the
name of Lite0. Convolutions are padded as TensorFlow's ``SAME``: where a stride leaves an odd number
over, the end gets more than the beginning, which a symmetric padding would move by a pixel.

Plain torch: importing it costs no more than torch itself.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-3
"""Of the batch norms; torch's own default is 1e-5."""

# Expansion, side of the kernel, stride, channels in and out, blocks: one line a stage.
_STAGES = (
    (1, 3, 1, 32, 16, 1),
    (6, 3, 2, 16, 24, 2),
    (6, 5, 2, 24, 40, 2),
    (6, 3, 2, 40, 80, 3),
    (6, 5, 1, 80, 112, 3),
    (6, 5, 2, 112, 192, 4),
    (6, 3, 1, 192, 320, 1),
)
TOP_CHANNELS = 1280
"""Channels of the last layer, which stands after the last stage."""


class Lite0(nn.Module):
    """The network: maps of its stages, and its last map.

    Parameters
    ----------
    folded : bool
        Whether the batch norms are part of the convolutions (`folded_state`): the same values to
        rounding in two thirds of the time. A folded network can be read and not trained.

    Examples
    --------
    >>> import torch
    >>> maps = Lite0(folded=True).maps(torch.zeros(1, 3, 64, 64))
    >>> [tuple(each.shape[1:]) for each in maps][:3]
    [(32, 32, 32), (16, 32, 32), (24, 16, 16)]
    """

    def __init__(self, folded: bool = False) -> None:
        super().__init__()
        self.stem = _unit(3, 32, 3, 2, folded=folded)
        stages = []
        for expansion, kernel, stride, incoming, outgoing, blocks in _STAGES:
            first = _Block(expansion, kernel, stride, incoming, outgoing, folded)
            rest = [
                _Block(expansion, kernel, 1, outgoing, outgoing, folded) for _ in range(blocks - 1)
            ]
            stages.append(nn.Sequential(first, *rest))
        self.stages = nn.ModuleList(stages)
        self.top = _unit(320, TOP_CHANNELS, 1, 1, folded=folded)

    def maps(self, inputs: Tensor) -> list[Tensor]:
        """Return the map of each of `settings.STAGE_NAMES` (B x K x h x w) of inputs (B x 3 x H x W).

        Inputs are those of `trunk_input`, not pixels in 0..1 and not ImageNet's mean and deviation.
        """
        maps = [self.stem(inputs)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the last map, B x 1280 x h x w."""
        return self.top(self.maps(inputs)[-1])


def trunk_input(pixels: Tensor) -> Tensor:
    """Return what the network reads, (pixel - 127) / 128, of pixels in 0..255 (any shape, float).

    Not ImageNet's mean and deviation by channel: the weights were trained with this, and the other
    scale costs ranking without an error.

    Examples
    --------
    >>> trunk_input(torch.tensor([0.0, 127.0, 255.0])).tolist()
    [-0.9921875, 0.0, 1.0]
    """
    return (pixels - 127) / 128


def channels_last(net: nn.Module) -> None:
    """Lay kernels in memory as maps whose channels come last, which takes two thirds of the time."""
    for parameter in net.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


class _Conv(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME."""

    def __init__(
        self, incoming: int, outgoing: int, kernel: int, stride: int, groups: int, bias: bool
    ) -> None:
        even = kernel // 2 if stride == 1 else 0
        super().__init__(incoming, outgoing, kernel, stride, even, groups=groups, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        if self.kernel_size == (1, 1) and _goes_past_onednn(input):
            one, none = [1, 1], [0, 0]
            convolved: Tensor = torch.ops.aten.mkldnn_convolution(
                input, self.weight, self.bias, none, one, one, 1
            )
            return convolved
        if self.stride[0] == 1:
            return super().forward(input)
        sides = []
        for length in (input.shape[-1], input.shape[-2]):
            steps = -(-length // self.stride[0]) - 1
            lacking = max(steps * self.stride[0] + self.kernel_size[0] - length, 0)
            sides += [lacking // 2, lacking - lacking // 2]
        return super().forward(F.pad(input, sides))


def _goes_past_onednn(input: Tensor) -> bool:
    """Whether torch would leave a 1 x 1 kernel to its slow convolution, which copies the maps.

    It does for fewer than 16 pictures on one thread, and takes half as long again for the trunk.
    """
    return (
        len(input) < 16
        and input.device.type == "cpu"
        and input.dtype == torch.float32
        and torch.get_num_threads() == 1
        and torch.backends.mkldnn.is_available()
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
    )


def _unit(
    incoming: int, outgoing: int, kernel: int, stride: int, *, groups: int = 1, folded: bool,
    active: bool = True,
) -> nn.Sequential:  # fmt: skip
    """A convolution with its norm and its ReLU6; folded, the norm is part of the convolution."""
    layers: list[nn.Module] = [_Conv(incoming, outgoing, kernel, stride, groups, bias=folded)]
    if not folded:
        layers.append(nn.BatchNorm2d(outgoing, eps=EPSILON, momentum=0.01))
    if active:
        layers.append(nn.ReLU6(inplace=True))
    return nn.Sequential(*layers)


class _Block(nn.Module):
    """Widen, filter each channel, narrow; with a shortcut where shape allows (arXiv 1801.04381)."""

    def __init__(
        self, expansion: int, kernel: int, stride: int, incoming: int, outgoing: int, folded: bool
    ) -> None:
        super().__init__()
        wide = incoming * expansion
        widen = [] if expansion == 1 else [_unit(incoming, wide, 1, 1, folded=folded)]
        self.path = nn.Sequential(
            *widen,
            _unit(wide, wide, kernel, stride, groups=wide, folded=folded),
            _unit(wide, outgoing, 1, 1, folded=folded, active=False),
        )
        self.shortcut = stride == 1 and incoming == outgoing

    def forward(self, features: Tensor) -> Tensor:
        outputs = self.path(features)
        return outputs + features if self.shortcut else outputs


def folded_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of ``Lite0(folded=True)`` of those of a trained ``Lite0()``.

    A batch norm in evaluation mode is a gain and an offset by channel, so with
    g = weight / sqrt(variance + epsilon) the convolution's kernel becomes g times itself and its
    bias ``norm bias - g mean``. Computed in float64.

    Parameters
    ----------
    state : mapping
        Tensors by name, as ``Lite0().state_dict()`` has them.
    """
    folded = {}
    for name, tensor in state.items():
        unit, _, rest = name.rpartition(".0.")
        if rest != "weight":
            continue
        norm = {part: state[f"{unit}.1.{part}"].double() for part in _NORM}
        gain = norm["weight"] / torch.sqrt(norm["running_var"] + EPSILON)
        folded[name] = (tensor.double() * gain[:, None, None, None]).float()
        folded[f"{unit}.0.bias"] = (norm["bias"] - gain * norm["running_mean"]).float()
    return folded


_NORM = ("weight", "bias", "running_mean", "running_var")


def unit_names() -> list[tuple[str, str]]:
    """Return (convolution, norm) of each unit in order, as names in ``Lite0().state_dict()``."""
    convolutions = [
        name.removesuffix(".weight")
        for name, module in Lite0().state_dict().items()
        if name.endswith(".0.weight") and module.ndim == 4
    ]
    return [(name, f"{name.removesuffix('.0')}.1") for name in convolutions]
