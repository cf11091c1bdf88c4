"""Networks of the optional package timm, parted into a stem and four stages."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from offsite.errors import InputError
from offsite.training.vision_packages import timm_package


def timm_network(name: str) -> tuple[nn.Module, list[nn.Sequential], int, tuple[str, str]]:
    """Build a network by timm's name, with random weights; nothing is downloaded.

    Returns
    -------
    tuple
        The layers, the stem and four stages made of them, the channels of the last stage, and the
        names, within the layers, of those that end the first and the second stage.

    Raises
    ------
    InputError
        Code ``missing_package``, ``unknown_backbone`` (timm has no such network), or
        ``no_stages`` (it does not part it into four stages in sequence).
    """
    timm = timm_package()
    if name not in timm.list_models():
        raise InputError(
            f"timm has no network named '{name}'",
            code="unknown_backbone",
            remedy="Give a name of timm.list_models(), as resnet50 or convnext_tiny",
        )
    try:
        net = timm.create_model(name, pretrained=False, features_only=True)
        ends, channels = list(net.return_layers), net.feature_info.channels()
        fits = len(ends) in (4, 5) and _shape(net)[1] == channels[-1]
    except (AssertionError, AttributeError, RuntimeError) as error:  # no list, or one size alone
        raise _without_stages(name) from error
    if not fits:
        raise _without_stages(name)
    return net, _stages(net, ends), channels[-1], (ends[-4], ends[-3])


def _without_stages(name: str) -> InputError:
    return InputError(
        f"timm does not part '{name}' into stages that follow one another",
        code="no_stages",
        remedy="Choose a network such as resnet50, densenet121 or convnext_tiny",
    )


@torch.no_grad()
def _shape(net: nn.Module) -> torch.Size:
    """Shape of the last map: B x E x h x w, and not channels last."""
    training = net.training
    last: Tensor = net.eval()(torch.zeros(1, 3, 64, 64))[-1]
    net.train(training)
    return last.shape


def _stages(net: nn.Module, ends: Sequence[str]) -> list[nn.Sequential]:
    """The children in groups that end with the last four of ``ends``, and before them the stem.

    Where timm names no end of the stem, it is all that comes before the layer that ends stage one.
    """
    names = [name for name, _ in net.named_children()]
    bounds = [names.index(end) + 1 for end in ends]
    if len(ends) == 4:
        bounds.insert(0, bounds[0] - 1)
    starts = [0, *bounds[:-1]]
    layers = dict(net.named_children())
    return [
        nn.Sequential(*(layers[name] for name in names[start:end]))
        for start, end in zip(starts, bounds, strict=True)
    ]
