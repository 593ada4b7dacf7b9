"""Rules that weigh an activation by a gradient: one forward and one backward pass.

Each is a formula on ``(batch, channels, *space)`` in any rank. The ReLU that papers put behind
the sum is not here: the raw map keeps its sign, and `gradcam_hooks.maps.finish` takes the ReLU.
Nothing branches on a value, so that `torch.vmap` can run a rule over many targets' gradients.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradcam_hooks.methods.registry import method
from gradcam_hooks.methods.singular import leading

__all__ = [
    "elementwise",
    "gradcam",
    "gradcam_plus",
    "gradcam_plus_plus",
    "hirescam",
    "layercam",
    "refinecam",
    "summed",
    "weighted",
    "xgradcam",
]


def weighted(weights: Tensor, activation: Tensor, *, eigen_smooth: bool = False) -> Tensor:
    """``sum_k w_k A_k``: weights ``(batch, channels)``; see `summed` for ``eigen_smooth``."""
    if not eigen_smooth:
        return torch.einsum("bc,bc...->b...", weights, activation)
    space = [1] * (activation.ndim - 2)
    return summed(weights.reshape(*weights.shape, *space) * activation, eigen_smooth=True)


def summed(parts: Tensor, *, eigen_smooth: bool = False) -> Tensor:
    """The channels' parts ``(batch, channels, *space)`` added up, or smoothed.

    Eigen-smoothing, the grad-cam library's, takes the first singular vector of the parts over
    positions in the place of their sum; it takes each channel's mean off first, which is not done
    here. Of `hirescam` it makes Eigen-Grad-CAM.
    """
    return leading(parts, by_peak=False) if eigen_smooth else parts.sum(1)


@method(paper="Selvaraju et al. 2017, arXiv:1610.02391, equations 1 and 2")
def gradcam(activation: Tensor, gradient: Tensor, *, eigen_smooth: bool = False) -> Tensor:
    """Grad-CAM: channels weighted by the mean of their gradient over space, summed.

    ``sum_k mean(g_k) A_k``.

    Args:
        activation: ``A (batch, channels, *space)``.
        gradient: ``g``, the score's gradient at A, the same shape.
        eigen_smooth: see `summed`.

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
    return weighted(gradient.flatten(2).mean(2), activation, eigen_smooth=eigen_smooth)


@method(
    "gradcam++",
    paper="Chattopadhyay et al. 2018, arXiv:1710.11063, equations 5 and 19",
    elsewhere=(
        "torchcam leaves alpha's denominator out: its weights are the sum of g² relu(g). grad-cam "
        "adds 1e-6 to the denominator, too much for gradients of 1e-3 and less. The authors' code "
        "scales alpha to add up to 1 in each channel."
    ),
)
def gradcam_plus_plus(
    activation: Tensor,
    gradient: Tensor,
    *,
    normalize: bool = False,
    eigen_smooth: bool = False,
) -> Tensor:
    """Grad-CAM++: channels weighted by their positive gradients times alpha, summed.

    ``sum_k w_k A_k``, ``w_k = sum(alpha relu(g_k))``, ``alpha = g² / (2 g² + sum(A_k) g³)``, and
    0 where g or the denominator is 0; computed as ``1 / (2 + sum(A_k) g)``, for the squares and
    cubes of small gradients vanish.

    Args:
        activation: ``A (batch, channels, *space)``.
        gradient: ``g``, the gradient of the logit at A, the same shape.
        normalize: scale alpha to add up to 1 over each channel's positive gradients. The authors'
            code does so, the paper does not.
        eigen_smooth: see `summed`.

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
    return weighted(weights, activation, eigen_smooth=eigen_smooth)


@method(
    paper="Domeniconi et al. 2026, arXiv:2605.14641",
    elsewhere=(
        "Of one layer, as 'auto' finds it, it is Grad-CAM++: name several. grad-cam scales each "
        "layer's map before it resizes it, here after, up to 5 % of the maximum apart."
    ),
    fuse="product",
)
def refinecam(
    activation: Tensor,
    gradient: Tensor,
    *,
    normalize: bool = False,
    eigen_smooth: bool = False,
) -> Tensor:
    """RefineCAM: the Grad-CAM++ maps of several layers, multiplied.

    This is the map of one layer, `gradcam_plus_plus`, whose arguments these are;
    ``fuse="product"``, the method's own way, multiplies them. Domeniconi et al. 2026
    (arXiv:2605.14641).

    >>> activation, gradient = torch.ones(1, 1, 2), torch.tensor([[[1.0, 0.0]]])
    >>> refinecam(activation, gradient)  # the weight is 1 / (2 + 1 * 2)
    tensor([[0.2500, 0.2500]])
    """
    return gradcam_plus_plus(activation, gradient, normalize=normalize, eigen_smooth=eigen_smooth)


@method("gradcam+", paper="Lerma and Lucas 2022, arXiv:2205.10838")
def gradcam_plus(activation: Tensor, gradient: Tensor, *, eigen_smooth: bool = False) -> Tensor:
    """Grad-CAM+: channels weighted by the mean of their positive gradient, summed.

    ``sum_k mean(relu(g_k)) A_k``.

    Args:
        activation: ``A (batch, channels, *space)``.
        gradient: ``g``, the score's gradient at A, the same shape.
        eigen_smooth: see `summed`.

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
    return weighted(gradient.flatten(2).relu().mean(2), activation, eigen_smooth=eigen_smooth)


@method(
    paper="Fu et al. 2020, arXiv:2008.02312",
    elsewhere=(
        "The authors' code, grad-cam and torchcam add 1e-6, 1e-7 and 1e-8 to a channel's sum."
    ),
)
def xgradcam(activation: Tensor, gradient: Tensor, *, eigen_smooth: bool = False) -> Tensor:
    """XGrad-CAM: channels weighted by their gradient's mean under the activation, summed.

    ``sum_k w_k A_k``, ``w_k = sum(g_k A_k / sum(A_k))``.

    Args:
        activation: ``A (batch, channels, *space)``.
        gradient: ``g``, the score's gradient at A, the same shape.
        eigen_smooth: see `summed`.

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
    return weighted(weights.sum(2), activation, eigen_smooth=eigen_smooth)


@method(paper="Draelos and Carin 2020, arXiv:2011.08891")
def hirescam(activation: Tensor, gradient: Tensor, *, eigen_smooth: bool = False) -> Tensor:
    """HiResCAM: gradient times activation, position by position, summed over channels.

    ``sum_k g_k A_k``, position by position.

    Args:
        activation: ``A (batch, channels, *space)``.
        gradient: ``g``, the score's gradient at A, the same shape.
        eigen_smooth: see `summed`.

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
    return summed(gradient * activation, eigen_smooth=eigen_smooth)


@method(cls="ElementWiseCAM", paper="no paper; named by the grad-cam library")
def elementwise(activation: Tensor, gradient: Tensor, *, eigen_smooth: bool = False) -> Tensor:
    """Element-wise Grad-CAM: the positive part of gradient times activation, summed over channels.

    ``sum_k relu(g_k A_k)``, position by position.

    Args:
        activation: ``A (batch, channels, *space)``.
        gradient: ``g``, the score's gradient at A, the same shape.
        eigen_smooth: see `summed`.

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
    return summed((gradient * activation).relu(), eigen_smooth=eigen_smooth)


@method(paper="Jiang et al. 2021, doi:10.1109/TIP.2021.3089943, section III")
def layercam(activation: Tensor, gradient: Tensor, *, eigen_smooth: bool = False) -> Tensor:
    """LayerCAM: positive gradient times activation, summed over channels.

    ``sum_k relu(g_k) A_k``, position by position.

    Args:
        activation: ``A (batch, channels, *space)``.
        gradient: ``g``, the score's gradient at A, the same shape.
        eigen_smooth: see `summed`.

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
    return summed(gradient.relu() * activation, eigen_smooth=eigen_smooth)
