"""Parts of the networks that the probe is judged by."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def normal(*shapes: tuple[int, ...]) -> Callable[[], list[Tensor]]:
    """Makes inputs of these shapes."""
    return lambda: [torch.randn(shape) for shape in shapes]


def image(height: int, width: int) -> Callable[[], list[Tensor]]:
    """Makes two pictures."""
    return normal((2, 3, height, width))


class Do(nn.Module):
    """A network whose forward pass is a function of itself and its inputs."""

    def __init__(self, forward: Callable[..., object], **modules: nn.Module) -> None:
        super().__init__()
        self.what = forward
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, *inputs: Tensor) -> object:
        return self.what(self, *inputs)


def cnn(channels: int = 3, rank: int = 2, width: int = 12) -> nn.Sequential:
    """Three convolutions, each with a ReLU: of strides 2, 2 and 1."""
    conv = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[rank]
    return nn.Sequential(
        conv(channels, width, 3, 2, 1),
        nn.ReLU(),
        conv(width, 2 * width, 3, 2, 1),
        nn.ReLU(),
        conv(2 * width, 2 * width, 3, 1, 1),
        nn.ReLU(),
    )


def encoder(width: int, layers: int = 2) -> nn.TransformerEncoder:
    """A transformer of two heads on ``(batch, tokens, width)``."""
    layer = nn.TransformerEncoderLayer(width, 2, 2 * width, batch_first=True)
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)


class Attention(nn.Module):
    """Patches and one attention by hand, whose logits and weights are layers."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 24, 8, 8)
        self.qkv = nn.Linear(24, 72)
        self.logits, self.soft = nn.Identity(), nn.Softmax(-1)
        self.out = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).mT
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, 2, 12).permute(2, 0, 3, 1, 4)
        weights = self.soft(self.logits(q @ k.mT) * 3)
        return self.out((weights @ v).transpose(1, 2).reshape(batch, tokens, width).mean(1))
