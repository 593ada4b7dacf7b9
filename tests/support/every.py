"""What every method is asked with: options that make it cheap, and a network that suits it."""

from __future__ import annotations

import timm
import torch
from torch import nn

import gradcam_hooks as gh

CHEAP: dict[str, dict[str, object]] = {
    "smoothgradcam++": {"samples": 2},
    "integratedgradcam": {"steps": 2},
    "sscam": {"samples": 2},
    "iscam": {"samples": 2},
    "rise": {"masks": 8},
    "groupcam": {"groups": 2},
    "opticam": {"steps": 3},
    "sess": {"scales": 2},
    "dff": {"concepts": 2},
}
"""Few samples: laws do not wait for convergence."""


def attends(name: str) -> bool:
    return gh.METHODS[name].looks == "attention"


def vit() -> nn.Module:
    torch.manual_seed(0)
    net = timm.models.VisionTransformer(
        img_size=8, patch_size=2, embed_dim=12, depth=2, num_heads=3, num_classes=3
    )
    return net.double().eval()
