"""A small residual network for pictures of 64 pixels; its modules are named as torchvision's are.

Stem, three stages of one, one and two basic blocks, global average pooling, one linear layer: about
180,000 parameters. The last stage does not shrink the picture further, so its map is fine enough to
point. The head is GAP-linear, so Grad-CAM on `layer3` is CAM up to a constant factor. The ReLUs
work in place, as torchvision's do. This file knows nothing of shapes, weights or training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BasicBlock", "ResNet", "network"]


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut around them."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, inputs, height, width)` to `(batch, outputs, height/stride, width/stride)`."""
        identity: Tensor = x if self.downsample is None else self.downsample(x)
        out: Tensor = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        activated: Tensor = self.relu(out)
        return activated


class ResNet(nn.Module):
    """The demo's classifier: `conv1, bn1, relu, layer1, layer2, layer3, avgpool, fc`.

    For an input of 64×64 the stages give maps of 32×32, 16×16 and 16×16.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(BasicBlock(16, 16, 1))
        self.layer2 = nn.Sequential(BasicBlock(16, 32, 2))
        self.layer3 = nn.Sequential(BasicBlock(32, 72, 1), BasicBlock(72, 72, 1))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(72, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, 3, height, width)`, normalised RGB, to logits `(batch, num_classes)`."""
        logits: Tensor = self.fc(self.avgpool(self.features(x)).flatten(1))
        return logits

    def features(self, x: Tensor) -> Tensor:
        """All but the head: `(batch, 3, height, width)` to `(batch, 72, height/4, width/4)`."""
        x = self.relu(self.bn1(self.conv1(x)))
        features: Tensor = self.layer3(self.layer2(self.layer1(x)))
        return features


def network(num_classes: int = 8) -> nn.Module:
    """The demo's network with fresh weights, in training mode.

    >>> sum(parameter.numel() for parameter in network().parameters())
    183976
    """
    return ResNet(num_classes)
