"""A small residual network of our own, for photographs of few pixels."""

import torch
from torch import Tensor, nn


class _Block(nn.Module):
    """Two 3 x 3 convolutions with a shortcut (He et al. 2016, arXiv 1512.03385, figure 5 left)."""

    def __init__(self, incoming: int, outgoing: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(incoming, outgoing, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outgoing)
        self.conv2 = nn.Conv2d(outgoing, outgoing, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outgoing)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or incoming != outgoing:
            self.downsample = nn.Sequential(
                nn.Conv2d(incoming, outgoing, 1, stride, bias=False), nn.BatchNorm2d(outgoing)
            )

    def forward(self, features: Tensor) -> Tensor:
        through = torch.relu(self.bn1(self.conv1(features)))
        return torch.relu(self.bn2(self.conv2(through)) + self.downsample(features))


class ThinResNet18(nn.Module):
    """ResNet-18 with few channels and a 3 x 3 stem: for small pictures on a processor."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        channels = width
        for number in range(1, 5):
            outgoing = width * 2 ** (number - 1)
            first = _Block(channels, outgoing, 1 if number == 1 else 2)
            self.add_module(f"layer{number}", nn.Sequential(first, _Block(outgoing, outgoing, 1)))
            channels = outgoing
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def stem(self, pixels: Tensor) -> Tensor:
        """Return the features before the first stage."""
        return torch.relu(self.bn1(self.conv1(pixels)))
