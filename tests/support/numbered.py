"""Tensors whose elements all differ, and all their indices."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

__all__ = ["indices", "numbered"]


def numbered(shape: tuple[int, ...]) -> Tensor:
    """A tensor whose elements all differ."""
    return torch.arange(math.prod(shape), dtype=torch.float64).reshape(shape) + 1


def indices(sizes: tuple[int, ...]) -> itertools.product[tuple[int, ...]]:
    return itertools.product(*map(range, sizes))
