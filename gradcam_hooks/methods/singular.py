"""The leading singular vector of an image's channels by positions, and its sign.

The decomposition is that of the smaller of the two Gram matrices, and in it nothing branches on a
value, so that `torch.vmap` can run a rule over targets.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["leading"]


def leading(tensor: Tensor, *, by_peak: bool) -> Tensor:
    """``sigma_1 v_1`` of each image's channels by positions, ``(batch, *space)``.

    Of an image with a value that is not finite, all NaN: a decomposition would raise.
    """
    matrix = tensor.flatten(2)
    peak = matrix.abs().amax((1, 2), keepdim=True)
    sound = peak.isfinite()  # the largest of values among which there is a NaN is NaN
    # At a size of about 1 no square overflows or vanishes.
    peak = torch.where(sound & (peak > 0), peak, torch.ones_like(peak))
    matrix = torch.where(sound, matrix / peak, torch.zeros_like(matrix))
    if matrix.shape[1] <= matrix.shape[2]:
        mixture = _last_eigenvector(matrix @ matrix.mT)
        projection = (mixture.unsqueeze(1) @ matrix).squeeze(1)
    else:
        vector = _last_eigenvector(matrix.mT @ matrix)
        size = torch.linalg.vector_norm(matrix @ vector.unsqueeze(2), dim=1)
        projection = vector * size
    sign = _sign_of_peak(projection) if by_peak else _sign_of_weights(matrix, projection)
    projection = projection * sign * peak.squeeze(2)
    projection = torch.where(sound.squeeze(2), projection, torch.full_like(projection, torch.nan))
    return projection.reshape(-1, *tensor.shape[2:])


def _last_eigenvector(gram: Tensor) -> Tensor:
    vectors: Tensor = torch.linalg.eigh(gram)[1]  # in ascending order
    return vectors[..., -1]


def _sign_of_weights(matrix: Tensor, projection: Tensor) -> Tensor:
    """The sign by which the channels' weights add up to a positive number, ``(batch, 1)``."""
    weights = (matrix @ projection.unsqueeze(2)).squeeze(2)  # u_1 times its singular value squared
    total = weights.sum(1, keepdim=True)
    tie = total.abs() <= _rounding(weights) * weights.abs().sum(1, keepdim=True)
    return torch.where(tie, _sign_of_peak(projection), total.sign())


def _sign_of_peak(projection: Tensor) -> Tensor:
    """The sign by which the value of largest size, of several the first, is positive."""
    size = projection.abs()
    largest = size >= (1 - _rounding(size)) * size.amax(1, keepdim=True)
    value = projection.gather(1, largest.int().argmax(1, keepdim=True))
    return torch.where(value < 0, -torch.ones_like(value), torch.ones_like(value))


def _rounding(tensor: Tensor) -> float:
    """What is told apart in a singular vector: half of a number's digits."""
    return math.sqrt(torch.finfo(tensor.dtype).eps)
