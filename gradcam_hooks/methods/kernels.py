"""The first kernel principal component of an image's positions, its channels being coordinates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

__all__ = ["KERNELS", "principal"]

Kernel = Callable[[Tensor, float], Tensor]
"""Points ``(batch, positions, channels)`` and gamma to ``(batch, positions, positions)``."""


def _dot(points: Tensor) -> Tensor:
    return points @ points.mT


def _cosine(points: Tensor, gamma: float) -> Tensor:
    size = torch.linalg.vector_norm(points, dim=2, keepdim=True)
    return _dot(points / torch.where(size == 0, torch.ones_like(size), size))


def _rbf(points: Tensor, gamma: float) -> Tensor:
    dots = _dot(points)
    squares = dots.diagonal(dim1=1, dim2=2)
    return torch.exp(-gamma * (squares[:, :, None] + squares[:, None] - 2 * dots).clamp_min(0))


KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {
        "sigmoid": lambda points, gamma: torch.tanh(gamma * _dot(points) + 1),
        "rbf": _rbf,
        "poly": lambda points, gamma: (gamma * _dot(points) + 1) ** 3,
        "cosine": _cosine,
        "linear": lambda points, gamma: _dot(points),
    }
)
"""Each kernel by its name, as scikit-learn defines it with its own defaults."""


def principal(activation: Tensor, kernel: str, gamma: float | None) -> Tensor:
    """``sqrt(lambda_1) v_1`` of each image's centred kernel matrix, ``(batch, *space)``.

    Of an image with a value that is not finite, all NaN: a decomposition would raise.
    """
    points = activation.flatten(2).mT
    sound = points.isfinite().all(2, keepdim=True).all(1, keepdim=True)
    points = torch.where(sound, points, torch.zeros_like(points)).double()
    points = points - points.mean(1, keepdim=True)
    matrix = KERNELS[kernel](points, 1 / points.shape[2] if gamma is None else gamma)
    means = matrix.mean(2, keepdim=True)
    matrix = matrix - means - means.mT + means.mean(1, keepdim=True)
    # A kernel of huge values overflows; then there is no component to tell.
    finite = matrix.isfinite().all(2, keepdim=True).all(1, keepdim=True)
    values, vectors = torch.linalg.eigh(torch.where(finite, matrix, torch.zeros_like(matrix)))
    vector = vectors[:, :, -1] * values[:, -1:].clamp_min(0).sqrt()
    peak = vector.gather(1, vector.abs().argmax(1, keepdim=True))
    vector = torch.where(peak < 0, -vector, vector)
    vector = torch.where((sound & finite)[:, :, 0], vector, torch.full_like(vector, torch.nan))
    return vector.to(activation.dtype).reshape(-1, *activation.shape[2:])
