"""One small float64 network for each number of axes of space, for laws that hold in all."""

from __future__ import annotations

import torch
from torch import Tensor, nn

RANKS = (1, 2, 3)

SIZES = {1: (12,), 2: (6, 8), 3: (4, 6, 5)}


def curved(rank: int, channels: int = 3, classes: int = 4) -> nn.Sequential:
    """Convolution, ReLU, and behind layer ``1`` a tail that is not linear: GELU and two linears."""
    torch.manual_seed(rank)
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]
    pool = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)[rank - 1]
    size = [side // 2 for side in SIZES[rank]]
    flat = channels * torch.Size(size).numel()
    return (
        nn.Sequential(
            conv(2, channels, 3, padding=1),
            nn.ReLU(),
            pool(2),
            nn.Flatten(),
            nn.Linear(flat, 6),
            nn.GELU(),
            nn.Linear(6, classes),
        )
        .double()
        .eval()
        .requires_grad_(requires_grad=False)
    )


def pooled(rank: int) -> nn.Sequential:
    """Convolution, ReLU, global average pool, linear: the head that CAM needs, in every rank."""
    torch.manual_seed(rank)
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]
    pool = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[rank - 1]
    layers = (conv(2, 3, 3, padding=1), nn.ReLU(), pool(1), nn.Flatten(), nn.Linear(3, 4))
    return nn.Sequential(*layers).double().eval()


def batch(rank: int, count: int = 2) -> Tensor:
    """Seeded noise, ``(count, 2, *space)``."""
    generator = torch.Generator().manual_seed(rank)
    return torch.randn(count, 2, *SIZES[rank], generator=generator, dtype=torch.float64)
