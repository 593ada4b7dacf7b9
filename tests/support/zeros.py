"""The raw Grad-CAM map computed another way: zeros added to a clone of the layer's output."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def raw_by_zeros(
    net: nn.Module, layer: str, score: Callable[[], Tensor], prefix: int = 0
) -> Tensor:
    """The map at ``layer`` of the score that ``score()`` computes by running the network.

    The layer gives ``(batch, channels, *space)``; or, first in a tuple or alone, tokens
    ``(batch, prefix + tokens, channels)``, of which the map is flat.
    """
    seen: dict[str, Tensor] = {}

    def add_zeros(module: nn.Module, args: object, output: object) -> object:
        tensor = output[0] if isinstance(output, tuple) else output
        assert isinstance(tensor, Tensor)
        seen["activation"] = tensor.detach().clone()
        seen["zeros"] = torch.zeros_like(tensor).requires_grad_()
        new = tensor.clone() + seen["zeros"]
        return (new, *output[1:]) if isinstance(output, tuple) else new

    handle = net.get_submodule(layer).register_forward_hook(add_zeros)
    try:
        (gradient,) = torch.autograd.grad(score().sum(), [seen["zeros"]])
    finally:
        handle.remove()
    activation = seen["activation"]
    if activation.ndim == 3:
        activation, gradient = (t[:, prefix:].transpose(1, 2) for t in (activation, gradient))
    weights = gradient.flatten(2).mean(2)
    return torch.einsum("bc,bc...->b...", weights, activation)


def agree(raw: object, expected: Tensor) -> None:
    """Equal up to rounding, on the scale of the map, which is not blank."""
    assert isinstance(raw, Tensor)
    scale = expected.abs().max()
    assert scale > 0
    error = (raw.detach().reshape(expected.shape) - expected).abs().max() / scale
    assert error < (1e-9 if expected.dtype == torch.float64 else 1e-4)
