"""Rules that look at how a channel's values are spread, and at no gradient.

Each is a formula on ``(batch, channels, *space)`` in any rank, the same for every class.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradcam_hooks.methods.registry import method

__all__ = ["fem", "fem_share"]

_DEVIATIONS = 2
"""How many standard deviations above its mean a value is rare; K in the paper."""


@method(
    paper="Fuad et al. 2020, doi:10.1109/IPTA50016.2020.9286629",
    needs_gradients=False,
    elsewhere=(
        "grad-cam weighs the whole of each channel by its share of such positions (fem_share)."
    ),
)
def fem(activation: Tensor, gradient: Tensor) -> Tensor:
    """FEM: where a channel lies two deviations above its mean, weighted by that mean.

    ``sum_k mean(A_k) [A_k > mean(A_k) + 2 std(A_k)]``: rare values, counted by position.

    Args:
        activation: ``A (batch, channels, *space)``.
        gradient: not looked at: the map is the same for every class.

    Returns:
        The raw map ``(batch, *space)``, in the activation's unit.

    Fuad et al. 2020 (doi:10.1109/IPTA50016.2020.9286629): binary maps by the rule of K sigma,
    K = 2, weighted by the channels' means, with the population's standard deviation. It is for
    activations after a ReLU: a channel with a negative mean counts against its rare values. With
    four positions or fewer no value lies so far out, and the map is zero; so it is of a constant
    channel. `fem_share` is the other rule that goes by this name.

    >>> activation = torch.tensor([[[9.0, 0, 0, 0, 0, 0, 0, 0, 0]]])  # mean 1, std 2.83
    >>> fem(activation, torch.zeros_like(activation))
    tensor([[1., 0., 0., 0., 0., 0., 0., 0., 0.]])
    """
    del gradient
    mean, rare = _rare(activation)
    return (mean * rare).sum(1).reshape(-1, *activation.shape[2:])


def fem_share(activation: Tensor, gradient: Tensor) -> Tensor:
    """FEM as the grad-cam library has it: ``sum_k w_k A_k``, ``w_k`` the share of rare values.

    ``w_k = mean([A_k > mean(A_k) + 2 std(A_k)])``: a channel counts by how many of its positions
    are rare, at all of its positions. `fem`, the paper's, counts the rare positions alone, by the
    channel's mean.

    Args:
        activation: ``A (batch, channels, *space)``.
        gradient: not looked at: the map is the same for every class.

    Returns:
        The signed raw map ``(batch, *space)``, in the activation's unit.

    >>> activation = torch.tensor([[[9.0, 0, 0, 0, 0, 0, 0, 0, 0]]])  # 1 of 9 positions is rare
    >>> fem_share(activation, torch.zeros_like(activation))
    tensor([[1., 0., 0., 0., 0., 0., 0., 0., 0.]])
    """
    del gradient
    _, rare = _rare(activation)
    return torch.einsum("bc,bc...->b...", rare.to(activation.dtype).mean(2), activation)


def _rare(activation: Tensor) -> tuple[Tensor, Tensor]:
    """Each channel's mean, and where it is more than two deviations above it, flat."""
    flat = activation.flatten(2)
    mean = flat.mean(2, keepdim=True)
    above = flat - mean
    peak = above.abs().amax(2, keepdim=True)
    # In a constant channel what is left of its mean is rounding, and not rare.
    spread = peak > 8 * torch.finfo(flat.dtype).eps * mean.abs()
    # At a size of 1 no square overflows or vanishes.
    above = above / torch.where(spread, peak, torch.ones_like(peak))
    deviation = above.square().mean(2, keepdim=True).sqrt()
    return mean, spread & (above > _DEVIATIONS * deviation)
