"""Rules that take the leading singular vector of an image's activations, alone or with a gradient.

An image's tensor ``(channels, *space)`` is read as a matrix M of channels by positions. Its first
right singular vector is a map over positions; times the first singular value, it is M projected on
the mixture of channels that carries most of it. M is not centred: that is principal component
analysis, and not what the papers write. The decomposition is that of the smaller of the two Gram
matrices, and in it nothing branches on a value, so that `torch.vmap` can run a rule over targets.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gradcam_hooks.methods.registry import Method

__all__ = ["ROWS", "eigencam", "eigengradcam", "leading", "segeigencam"]


def eigencam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Eigen-CAM: ``sigma_1 v_1`` of the activation: ``u_1 A``, with ``A = U Sigma V^T``.

    Args:
        activation: ``A (batch, channels, *space)``.
        gradient: not looked at: the map is the same for every class.

    Returns:
        The signed raw map ``(batch, *space)``, in the activation's unit.

    Muhammad and Yeasin 2020 (arXiv:2008.00299), the projection of the layer's output on its first
    eigenvector; without a mean taken off, as the paper has it.

    A singular vector has no sign of its own. Here the channels' weights ``u_1`` add up to no less
    than zero, so that the map and the sum over channels have a positive inner product; of an
    activation that is nowhere negative, the map is nowhere negative. Where the weights cancel to
    within rounding, the map's value of largest size is positive, and of several the first. Where
    two singular values are equal, no map is singled out and one of many is given.

    >>> activation = torch.tensor([[[3.0, 6.0], [4.0, 8.0]]])  # (0.6, 0.8) times (5, 10)
    >>> eigencam(activation, torch.zeros_like(activation)).round(decimals=3)
    tensor([[ 5., 10.]])
    """
    del gradient
    return leading(activation, by_peak=False)


def eigengradcam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Eigen-Grad-CAM: ``sigma_1 v_1`` of gradient times activation.

    Args:
        activation: ``A (batch, channels, *space)``.
        gradient: ``g``, the score's gradient at A, the same shape.

    Returns:
        The signed raw map ``(batch, *space)``, in the unit of the score.

    No paper of its own; the rule and the name are those of the grad-cam library, which takes off
    each channel's mean first. Nothing is taken off here. The sign is that of `eigencam`: the map
    and `hirescam` have a positive inner product.

    >>> activation = torch.tensor([[[3.0, 6.0], [4.0, 8.0]]])
    >>> gradient = torch.tensor([[[1.0, -1.0], [1.0, -1.0]]])
    >>> eigengradcam(activation, gradient).round(decimals=3)
    tensor([[  5., -10.]])
    """
    return leading(gradient * activation, by_peak=False)


def segeigencam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Seg-Eigen-CAM: ``sigma_1 v_1`` of the gradient's size times the activation.

    Args:
        activation: ``A (batch, channels, *space)``.
        gradient: ``g``, the score's gradient at A, the same shape.

    Returns:
        The signed raw map ``(batch, *space)``, in the unit of the score.

    Chung and Ying 2025 (doi:10.3390/app15137562), equations 10 (``|g| A``) to 13 (the sign: the
    map's value of largest size is positive; here, of several the first). Not centred, unlike the
    grad-cam library's. Made for the score of a region of a segmentation; evidence against a class
    counts as much as evidence for it.

    >>> activation = torch.tensor([[[3.0, 6.0], [4.0, 8.0]]])
    >>> gradient = torch.tensor([[[1.0, -1.0], [1.0, -1.0]]])
    >>> segeigencam(activation, gradient).round(decimals=3)
    tensor([[ 5., 10.]])
    """
    return leading(gradient.abs() * activation, by_peak=True)


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


ROWS = (
    Method(
        name="eigencam",
        cls="EigenCAM",
        title="Eigen-CAM",
        paper="Muhammad and Yeasin 2020, arXiv:2008.00299",
        formula="the activation's first singular vector over positions",
        passes="1 F",
        needs_gradients=False,
        class_specific=False,
        deviations="grad-cam takes each channel's mean off first; its sign is left to chance.",
        rule=eigencam,
    ),
    Method(
        name="eigengradcam",
        cls="EigenGradCAM",
        title="Eigen-Grad-CAM",
        paper="no paper; named by the grad-cam library",
        formula="the first singular vector of gradient times activation",
        passes="1 F + 1 B",
        deviations="grad-cam takes each channel's mean off first; its sign is left to chance.",
        rule=eigengradcam,
    ),
    Method(
        name="segeigencam",
        cls="SegEigenCAM",
        title="Seg-Eigen-CAM",
        paper="Chung and Ying 2025, doi:10.3390/app15137562, equations 10 to 13",
        formula="the first singular vector of the gradient's size times activation",
        passes="1 F + 1 B",
        deviations="grad-cam takes each channel's mean off first.",
        rule=segeigencam,
    ),
)
"""What each of these is."""
