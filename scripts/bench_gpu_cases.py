"""What `bench_gpu` explains, in which numbers, and how it is compared with plain autograd."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import gradcam_hooks as gh

__all__ = ["LAYERS", "TOKENS", "TOLERANCE", "Case", "Pace", "apart"]

LAYERS = {
    "resnet50": "layer4",
    "convnext_tiny": "features.7",
    "vit_b_16": "encoder.layers.encoder_layer_10",
    "swin_t": "features.7",
}
"""The last block; of ViT, whose head reads one token of it, the one before."""
TOKENS = ("vit_b_16", "swin_t")
TOLERANCE = 1e-4
"""Of what is added up in a raw map, in float32 without TF32."""


@dataclass(frozen=True)
class Case:
    """What is explained, and in which numbers."""

    network: str
    batch: int
    kind: str = "float32"
    size: int = 224

    def __str__(self) -> str:
        return f"{self.network}, batch {self.batch}, {self.kind}"

    @property
    def layer(self) -> str:
        """The layer that is explained."""
        return LAYERS[self.network]

    def build(self, device: torch.device) -> nn.Module:
        """The network in eval mode, random weights from a fixed seed, none of its head zero."""
        import torchvision

        torch.manual_seed(0)
        options = {"image_size": self.size} if self.network == "vit_b_16" else {}
        model: nn.Module = torchvision.models.get_model(self.network, weights=None, **options)
        for parameter in model.parameters():
            if not parameter.any() and parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.02)
        kind = torch.bfloat16 if "bf16" in self.kind else torch.float32
        model = model.eval().to(device, kind)
        return model.to(memory_format=torch.channels_last) if "last" in self.kind else model

    def images(self, device: torch.device) -> Tensor:
        """Random pixels from a fixed seed."""
        generator = torch.Generator().manual_seed(1)
        images = torch.randn(self.batch, 3, self.size, self.size, generator=generator)
        images = images.to(device, torch.bfloat16 if "bf16" in self.kind else torch.float32)
        return images.to(memory_format=torch.channels_last) if "last" in self.kind else images


@dataclass(frozen=True)
class Pace:
    """Milliseconds of one call, its share of plain inference in the same round, its peak memory.

    Attributes:
        case: what was explained.
        way: by whom.
        ms: the median.
        ratio: the median over rounds of its time by plain inference's in the same round.
        peak: bytes above what the network and the images take; None on a CPU.
        peak_ratio: that and the network, by plain inference's and the network.
    """

    case: Case
    way: str
    ms: float
    ratio: float
    peak: int | None = None
    peak_ratio: float | None = None


@contextmanager
def exact() -> Iterator[None]:
    """Without TF32, in which a map may be off by a thousandth."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def apart(model: nn.Module, case: Case, images: Tensor, classes: list[int]) -> float:
    """How far our raw map is from one by autograd and a hook, of the sum of what is in it.

    Channels cancel each other where a map is small, so of these and not of the map itself.
    """
    kept: list[Tensor] = []

    def keep(module: nn.Module, args: object, output: Tensor) -> Tensor:
        kept.append(output.detach().clone().requires_grad_())
        return kept[-1]

    with exact():
        with model.get_submodule(case.layer).register_forward_hook(keep):
            logits = model(images)
        score = logits[range(len(classes)), classes].sum()
        (gradient,) = torch.autograd.grad(score, kept[0])
        activation = kept[0].detach()
        if case.network == "vit_b_16":  # (batch, 1 + cells, channels)
            side = case.size // 16
            both = [one[:, 1:].reshape(len(one), side, side, -1) for one in (activation, gradient)]
            activation, gradient = (one.movedim(-1, 1) for one in both)
        elif case.network == "swin_t":
            activation, gradient = activation.movedim(-1, 1), gradient.movedim(-1, 1)
        parts = gradient.mean((2, 3), keepdim=True) * activation
        raw = gh.explain(model, images, case.layer, target=classes).raw
    assert isinstance(raw, Tensor)
    return float((raw - parts.sum(1)).abs().max() / parts.abs().sum(1).max())
