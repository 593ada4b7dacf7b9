"""Networks under test, one of every family of CNNs, and what is known of them by hand.

In float64, where a wrong map cannot hide behind rounding, with random weights and batch norms set
by data so that no map is blank. Knows torch, torchvision and timm only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Network:
    """A network under test.

    Attributes:
        name: the builder's name in torchvision, or in timm where ``zoo`` says so.
        layers: how many calls that return a 4-D tensor it has at least.
        size: height and width of the input; unlike, so that axes cannot be mixed up unseen.
        zoo: where the builder is.
        channels_last: a pattern for the names of the layers whose last axis holds the channels.
    """

    name: str
    layers: int
    size: tuple[int, int] = (64, 96)
    zoo: str = "torchvision"
    channels_last: str | None = None

    def build(self) -> nn.Module:
        """The network in eval mode, float64, frozen, random weights from a fixed seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            if self.zoo == "timm":
                import timm

                model = timm.create_model(self.name, num_classes=10)
            else:
                import torchvision

                # Their auxiliary heads run in training only.
                aux = self.name in ("googlenet", "inception_v3")
                options = {"aux_logits": False, "init_weights": True} if aux else {}
                model = torchvision.models.get_model(
                    self.name, weights=None, num_classes=10, **options
                )
            model.eval().requires_grad_(requires_grad=False)
            _settle(model, torch.randn(4, 3, *self.size))
        return model.double()

    def image(self, batch: int = 1) -> Tensor:
        """Random pixels from a fixed seed, ``(batch, 3, height, width)``."""
        generator = torch.Generator().manual_seed(1)
        return torch.randn(batch, 3, *self.size, generator=generator, dtype=torch.float64)

    def is_channels_last(self, layer: str) -> bool:
        return bool(self.channels_last and re.search(self.channels_last, layer))


NETWORKS = (
    Network("alexnet", 15),
    Network("vgg11", 23),
    Network("resnet18", 74),
    Network("resnext50_32x4d", 180),
    Network("wide_resnet50_2", 180),
    Network("densenet121", 430),
    Network("squeezenet1_1", 67),
    Network("mobilenet_v2", 200),
    Network("mobilenet_v3_small", 200),
    Network("shufflenet_v2_x0_5", 190),
    Network("mnasnet0_5", 170),
    Network("efficientnet_b0", 320),
    Network("efficientnet_v2_s", 700),
    Network("regnet_y_400mf", 340),
    # Inside a block: permuted, normalised, two linear layers with a GELU between.
    Network("convnext_tiny", 190, channels_last=r"\.block\.[1-5]$"),
    Network("googlenet", 220),
    Network("inception_v3", 290, size=(96, 128)),
    Network("ghostnet_050", 400, zoo="timm"),
    Network("hrnet_w18_small", 400, zoo="timm"),
    Network("dpn48b", 300, zoo="timm"),
    Network("nf_resnet26", 87, zoo="timm"),
)


def _settle(model: nn.Module, images: Tensor) -> None:
    """Give batch norms the statistics of data, and each parameter that starts at zero a value."""
    for parameter in model.parameters():
        if parameter.ndim != 1 and not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
        if norm.weight is not None:
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.3)
    with torch.no_grad():
        model(images)
    for norm in norms:
        norm.eval()
        norm.momentum = 0.1
