"""The benchmark's pictures: shapes drawn by procedure, and photographs that packages ship."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

__all__ = ["CLASSES", "SIDE", "photographs", "shapes"]

SIDE, CLASSES = 32, 8
"""Of a drawn picture the side in pixels, and how many classes there are."""

_PAINTS = torch.tensor([[0.9, 0.2, 0.2], [0.2, 0.8, 0.25], [0.2, 0.35, 0.95], [0.95, 0.85, 0.2]])


@cache
def shapes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """So many striped shapes, ``(n, 3, 32, 32)``, and the class of each, the classes taking turns.

    A disc or a square, of any size and place, on a ground of blurred colours. The class is one of
    four colours and one of two ways in which the stripes run; nothing else tells it.
    """
    chance = torch.Generator().manual_seed(seed)

    def drawn(*size: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(count, *size, generator=chance)

    labels = torch.arange(count) % CLASSES
    coarse = drawn(3, 4, 4, low=0.1, high=0.9)
    ground = functional.interpolate(coarse, (SIDE, SIDE), mode="bilinear")
    ground = ground + 0.1 * (drawn(3, SIDE, SIDE) - 0.5)
    radius = drawn(1, 1, low=5.5, high=9)
    y, x = (radius + 1 + (SIDE - 3 - 2 * radius) * drawn(1, 1) for _ in range(2))
    row, column = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    down, right = (row - y).abs(), (column - x).abs()
    square = drawn(1, 1) < 0.5
    inside = torch.where(square, torch.maximum(down, right), (down**2 + right**2).sqrt()) <= radius
    along = torch.where((labels % 2 == 0).view(-1, 1, 1), row, column)
    light = torch.where((along + (4 * drawn(1, 1)).floor()) % 4 < 2, 1.0, 0.3)
    paint = _PAINTS[labels // 2] + 0.2 * (drawn(3) - 0.5)
    filled = (paint[:, :, None, None] * light[:, None]).clamp(0, 1)
    pixels = torch.where(inside[:, None], filled, ground)
    return (pixels - 0.5) / 0.25, labels


def photographs() -> Iterator[tuple[str, Tensor]]:
    """Photographs by name, as EfficientNet-Lite0 takes them, ``(3, 224, 224)``.

    Of each the middle square, whole and without its rim.
    """
    for path in photograph_files():
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        side = min(picture.size)
        for share in (1.0, 0.85):
            half = share * side / 2
            x, y = picture.size[0] / 2, picture.size[1] / 2
            box = (round(x - half), round(y - half), round(x + half), round(y + half))
            square = picture.resize((224, 224), Image.Resampling.BICUBIC, box)
            pixels = torch.from_numpy(np.asarray(square).copy()).permute(2, 0, 1).float()
            yield f"{path.stem} {share:.0%}", (pixels - 127) / 128


def photograph_files() -> list[Path]:
    """Files of photographs in packages that are installed, in the order of their names."""
    wanted = {
        "skimage": ("data/chelsea.png", "data/coffee.png", "data/rocket.jpg", "data/astronaut.png"),
        "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
        "gradio": (
            "media_assets/images/cheetah1.jpg",
            "media_assets/images/lion.jpg",
            "media_assets/images/bus.png",
            "media_assets/images/tower.jpg",
        ),
    }
    found = []
    for package, names in wanted.items():
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            found += [Path(spec.origin).parent / name for name in names]
    return [path for path in found if path.exists()]
