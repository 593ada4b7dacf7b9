"""Rules that weigh an activation by a gradient: one forward and one backward pass.

Each is a formula on ``(batch, channels, *space)`` in any rank. The ReLU that papers put behind
the sum is not here: the raw map keeps its sign, and `gradcam_hooks.maps.finish` takes the ReLU.
Nothing branches on a value, so that `torch.vmap` can run a rule over many targets' gradients.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "elementwise",
    "gradcam",
    "gradcam_plus",
    "gradcam_plus_plus",
    "hirescam",
    "layercam",
    "xgradcam",
]


def _weighted(weights: Tensor, activation: Tensor) -> Tensor:
    """``sum_k w_k A_k``: weights ``(batch, channels)``."""
    return torch.einsum("bc,bc...->b...", weights, activation)


def gradcam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Grad-CAM: ``sum_k mean(g_k) A_k``.

    Args:
        activation: ``A (batch, channels, *space)``.
        gradient: ``g``, the score's gradient at A, the same shape.

    Returns:
        The signed raw map ``(batch, *space)``.

    Selvaraju et al. 2017 (arXiv:1610.02391), equation 1 (the weights) and the sum of equation 2,
    before its ReLU. The mean runs over space, Z in the paper.

    >>> activation = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[1.0, 0.0], [0.0, 1.0]]]])
    >>> gradient = torch.tensor([[[[1.0, 1.0], [1.0, 1.0]], [[-4.0, 0.0], [0.0, 0.0]]]])
    >>> gradcam(activation, gradient)
    tensor([[[0., 2.],
             [3., 3.]]])
    """
    return _weighted(gradient.flatten(2).mean(2), activation)


def gradcam_plus_plus(activation: Tensor, gradient: Tensor, *, normalize: bool = False) -> Tensor:
    """Grad-CAM++: ``sum_k w_k A_k``, ``w_k = sum(alpha relu(g_k))``.

    ``alpha = g² / (2 g² + sum(A_k) g³)``, and 0 where g or the denominator is 0; computed as
    ``1 / (2 + sum(A_k) g)``, for the squares and cubes of small gradients vanish.

    Args:
        activation: ``A (batch, channels, *space)``.
        gradient: ``g``, the gradient of the logit at A, the same shape.
        normalize: scale alpha to add up to 1 over each channel's positive gradients. The authors'
            code does so, the paper does not.

    Returns:
        The signed raw map ``(batch, *space)``.

    Chattopadhyay et al. 2018 (arXiv:1710.11063), equations 5 (the weights) and 19 (alpha), and the
    sum before the ReLU. Deviation: the paper's score is ``exp(logit)``, whose derivatives are those
    of the logit times ``exp(logit)``. That is one positive factor on the whole map, which scaling
    takes out again; it is left out because it overflows.

    >>> activation = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]])
    >>> gradient = torch.tensor([[[[1.0, 0.0], [0.0, -3.0]]]])
    >>> gradcam_plus_plus(activation, gradient)  # the weight is 1 / (2 + 1 * 2)
    tensor([[[0.2500, 0.0000],
             [0.0000, 0.2500]]])
    """
    flat = gradient.flatten(2)
    denominator = 2 + flat * activation.flatten(2).sum(2, keepdim=True)
    # Where g < 0, alpha meets relu(g) = 0: a zero of either does for both.
    alpha = denominator.masked_fill((flat <= 0) | (denominator == 0), torch.inf).reciprocal()
    weights = (alpha * flat).sum(2)
    if normalize:
        total = alpha.sum(2)
        weights = weights / torch.where(total == 0, torch.ones_like(total), total)
    return _weighted(weights, activation)


def gradcam_plus(activation: Tensor, gradient: Tensor) -> Tensor:
    """Grad-CAM+: ``sum_k mean(relu(g_k)) A_k``.

    Args:
        activation: ``A (batch, channels, *space)``.
        gradient: ``g``, the score's gradient at A, the same shape.

    Returns:
        The signed raw map ``(batch, *space)``.

    Lerma and Lucas 2022 (arXiv:2205.10838), who show that Grad-CAM++ comes to this in practice:
    its alpha is all but constant, because ``g sum(A)`` is small beside 2.

    >>> activation = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> gradient = torch.tensor([[[[1.0, -9.0], [1.0, 0.0]]]])
    >>> gradcam_plus(activation, gradient)
    tensor([[[0.5000, 1.0000],
             [1.5000, 2.0000]]])
    """
    return _weighted(gradient.flatten(2).relu().mean(2), activation)


def xgradcam(activation: Tensor, gradient: Tensor) -> Tensor:
    """XGrad-CAM: ``sum_k w_k A_k``, ``w_k = sum(g_k A_k / sum(A_k))``.

    Args:
        activation: ``A (batch, channels, *space)``.
        gradient: ``g``, the score's gradient at A, the same shape.

    Returns:
        The signed raw map ``(batch, *space)``.

    Fu et al. 2020 (arXiv:2008.02312), the weights by which the map comes closest to their axioms of
    sensitivity and conservation. The formula takes activations after a ReLU for granted: where A
    has both signs, ``sum(A_k)`` can be small and the weight of any size. A channel whose sum is no
    more than its own rounding gets the weight 0; the authors' code adds 1e-6 to the sum instead.

    >>> activation = torch.tensor([[[[1.0, 3.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]])
    >>> gradient = torch.tensor([[[[2.0, 1.0], [5.0, 5.0]], [[9.0, 9.0], [9.0, 9.0]]]])
    >>> xgradcam(activation, gradient)  # the first weight is 2 * 1/4 + 1 * 3/4
    tensor([[[1.2500, 3.7500],
             [0.0000, 0.0000]]])
    """
    flat = activation.flatten(2)
    total = flat.sum(2, keepdim=True)
    rounding = torch.finfo(flat.dtype).eps * flat.abs().sum(2, keepdim=True)
    dead = total.abs() <= rounding
    shares = flat / torch.where(dead, torch.ones_like(total), total)
    weights = torch.where(dead, torch.zeros_like(total), shares) * gradient.flatten(2)
    return _weighted(weights.sum(2), activation)


def hirescam(activation: Tensor, gradient: Tensor) -> Tensor:
    """HiResCAM: ``sum_k g_k A_k``, position by position.

    Args:
        activation: ``A (batch, channels, *space)``.
        gradient: ``g``, the score's gradient at A, the same shape.

    Returns:
        The signed raw map ``(batch, *space)``; it adds up to gradient times activation, which is
        the score less a constant where what follows the layer is linear.

    Draelos and Carin 2020 (arXiv:2011.08891), the sum over channels of gradient times feature map.
    The paper shows the map with its sign; `finish` takes the ReLU, as for every method.

    >>> activation = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[1.0, 1.0], [1.0, 1.0]]]])
    >>> gradient = torch.tensor([[[[1.0, 0.0], [-1.0, 2.0]], [[1.0, 1.0], [0.0, -3.0]]]])
    >>> hirescam(activation, gradient)
    tensor([[[ 2.,  1.],
             [-3.,  5.]]])
    """
    return (gradient * activation).sum(1)


def elementwise(activation: Tensor, gradient: Tensor) -> Tensor:
    """Element-wise Grad-CAM: ``sum_k relu(g_k A_k)``, position by position.

    Args:
        activation: ``A (batch, channels, *space)``.
        gradient: ``g``, the score's gradient at A, the same shape.

    Returns:
        The raw map ``(batch, *space)``, nowhere negative.

    No paper of its own; the rule and the name are those of the grad-cam library. It is `layercam`
    where A is nowhere negative; where it is, two negative factors count for the score here.

    >>> activation = torch.tensor([[[[1.0, -2.0], [3.0, 4.0]], [[1.0, 1.0], [1.0, 1.0]]]])
    >>> gradient = torch.tensor([[[[1.0, -1.0], [-1.0, 2.0]], [[1.0, 1.0], [0.0, -3.0]]]])
    >>> elementwise(activation, gradient)
    tensor([[[2., 3.],
             [0., 8.]]])
    """
    return (gradient * activation).relu().sum(1)


def layercam(activation: Tensor, gradient: Tensor) -> Tensor:
    """LayerCAM: ``sum_k relu(g_k) A_k``, position by position.

    Args:
        activation: ``A (batch, channels, *space)``.
        gradient: ``g``, the score's gradient at A, the same shape.

    Returns:
        The signed raw map ``(batch, *space)``.

    Jiang et al. 2021 (doi:10.1109/TIP.2021.3089943), section III, the map of one layer before its
    ReLU. The paper's tanh scaling of shallow layers is a matter of fusing layers, not of this map.

    >>> activation = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[1.0, 1.0], [1.0, 1.0]]]])
    >>> gradient = torch.tensor([[[[1.0, 0.0], [-1.0, 2.0]], [[1.0, 1.0], [0.0, -3.0]]]])
    >>> layercam(activation, gradient)
    tensor([[[2., 1.],
             [0., 8.]]])
    """
    return (gradient.relu() * activation).sum(1)
