"""Rules that weigh an activation by a gradient: one forward and one backward pass.

Each is a formula on ``(batch, channels, *space)`` in any rank. The ReLU that papers put behind
the sum is not here: the raw map keeps its sign, and `gradcam_hooks.maps.finish` takes the ReLU.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["gradcam"]


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
    weights = gradient.flatten(2).mean(2)
    return torch.einsum("bc,bc...->b...", weights, activation)
