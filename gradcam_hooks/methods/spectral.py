"""Rules that take the leading singular vector of an image's activations, alone or with a gradient.

An image's tensor ``(channels, *space)`` is read as a matrix M of channels by positions. Its first
right singular vector is a map over positions; times the first singular value, it is M projected on
the mixture of channels that carries most of it. M is not centred: that is principal component
analysis, and not what the papers write. The decomposition is that of the smaller of the two Gram
matrices, and in it nothing branches on a value, so that `torch.vmap` can run a rule over targets.
"""

from __future__ import annotations

from torch import Tensor

from gradcam_hooks.checks import check_one_of, check_range
from gradcam_hooks.methods.kernels import KERNELS, principal
from gradcam_hooks.methods.registry import method
from gradcam_hooks.methods.singular import leading

__all__ = ["eigencam", "eigengradcam", "kpcacam", "segeigencam"]


@method(
    paper="Muhammad and Yeasin 2020, arXiv:2008.00299",
    needs_gradients=False,
    elsewhere="grad-cam takes each channel's mean off first; its sign is left to chance.",
)
def eigencam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Eigen-CAM: the activation's first singular vector over positions.

    ``sigma_1 v_1`` of the activation: ``u_1 A``, with ``A = U Sigma V^T``.

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

    >>> import torch
    >>> activation = torch.tensor([[[3.0, 6.0], [4.0, 8.0]]])  # (0.6, 0.8) times (5, 10)
    >>> eigencam(activation, torch.zeros_like(activation)).round(decimals=3)
    tensor([[ 5., 10.]])
    """
    del gradient
    return leading(activation, by_peak=False)


@method(
    paper="no paper; named by the grad-cam library",
    elsewhere="grad-cam takes each channel's mean off first; its sign is left to chance.",
)
def eigengradcam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Eigen-Grad-CAM: the first singular vector of gradient times activation.

    ``sigma_1 v_1`` of ``g A``.

    Args:
        activation: ``A (batch, channels, *space)``.
        gradient: ``g``, the score's gradient at A, the same shape.

    Returns:
        The signed raw map ``(batch, *space)``, in the unit of the score.

    No paper of its own; the rule and the name are those of the grad-cam library, which takes off
    each channel's mean first. Nothing is taken off here. The sign is that of `eigencam`: the map
    and `hirescam` have a positive inner product.

    >>> import torch
    >>> activation = torch.tensor([[[3.0, 6.0], [4.0, 8.0]]])
    >>> gradient = torch.tensor([[[1.0, -1.0], [1.0, -1.0]]])
    >>> eigengradcam(activation, gradient).round(decimals=3)
    tensor([[  5., -10.]])
    """
    return leading(gradient * activation, by_peak=False)


@method(
    paper="Chung and Ying 2025, doi:10.3390/app15137562, equations 10 to 13",
    elsewhere="grad-cam takes each channel's mean off first.",
)
def segeigencam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Seg-Eigen-CAM: the first singular vector of the gradient's size times activation.

    ``sigma_1 v_1`` of ``|g| A``.

    Args:
        activation: ``A (batch, channels, *space)``.
        gradient: ``g``, the score's gradient at A, the same shape.

    Returns:
        The signed raw map ``(batch, *space)``, in the unit of the score.

    Chung and Ying 2025 (doi:10.3390/app15137562), equations 10 (``|g| A``) to 13 (the sign: the
    map's value of largest size is positive; here, of several the first). Not centred, unlike the
    grad-cam library's. Made for the score of a region of a segmentation; evidence against a class
    counts as much as evidence for it.

    >>> import torch
    >>> activation = torch.tensor([[[3.0, 6.0], [4.0, 8.0]]])
    >>> gradient = torch.tensor([[[1.0, -1.0], [1.0, -1.0]]])
    >>> segeigencam(activation, gradient).round(decimals=3)
    tensor([[ 5., 10.]])
    """
    return leading(gradient.abs() * activation, by_peak=True)


@method(
    title="KPCA-CAM",
    cls="KPCACAM",
    paper="Karmani et al. 2024, arXiv:2410.00267",
    needs_gradients=False,
    elsewhere="grad-cam's is the same, by scikit-learn's KernelPCA.",
)
def kpcacam(
    activation: Tensor, gradient: Tensor, *, kernel: str = "sigmoid", gamma: float | None = None
) -> Tensor:
    """KPCA-CAM: the positions' first kernel principal component.

    ``sqrt(lambda_1) v_1`` of the centred ``K``, ``K_pq = k(a_p, a_q)`` of the activation's columns.

    Args:
        activation: ``A (batch, channels, *space)``.
        gradient: not looked at: the map is the same for every class.
        kernel: ``"sigmoid"``, ``tanh(gamma a.b + 1)``; ``"rbf"``, ``exp(-gamma |a - b|^2)``;
            ``"poly"``, ``(gamma a.b + 1)^3``; ``"cosine"``; or ``"linear"``, with which it is the
            principal component that others' Eigen-CAM takes.
        gamma: by default one over the number of channels.

    Returns:
        The signed raw map ``(batch, *space)``.

    Karmani et al. 2024 (arXiv:2410.00267); each channel's mean is taken off ahead of the kernel,
    and the sign is the one by which the value of largest size is positive, as in the grad-cam
    library. A kernel has a unit: another scale of the activation gives another map. Memory grows
    with the square of the number of positions.

    >>> import torch
    >>> activation = torch.tensor([[[4.0, 1.0, 1.0]]])  # less its mean: 2, -1, -1
    >>> kpcacam(activation, activation, kernel="linear").round(decimals=3)
    tensor([[ 2., -1., -1.]])
    """
    del gradient
    check_one_of(kernel, "kernel", tuple(KERNELS))
    if gamma is not None:
        check_range(gamma, "gamma", 0)
    return principal(activation, kernel, gamma)
