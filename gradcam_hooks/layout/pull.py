"""Where short axes look, by vector-Jacobian products: the centre of mass of squared gradients.

Two or three cells deep in a network all see nearly everything, and forward light hardly tells them
apart; the gradient of a cell does. One forward pass, then one backward pass for each cell and draw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradcam_hooks.layout.digits import Key

__all__ = ["GradRun", "centres"]

GradRun = Callable[[Sequence[Tensor]], Sequence[Tensor]]
"""Runs the network on leaves; the activation of each call of the layer, in their graph."""


def centres(
    grad_run: GradRun,
    inputs: Sequence[Tensor],
    axes: Sequence[tuple[int, int]],
    seed: int,
    draws: int = 3,
) -> dict[tuple[int, int], dict[Key, NDArray[np.float64]]]:
    """For each axis of an activation, where its cells look along each axis of the inputs.

    Args:
        grad_run: runs the network on leaves.
        inputs: the inputs; those that are no floats get no gradient.
        axes: which axes: the number of the call, and of the activation's axis.
        seed: of the signs by which the elements of a cell are mixed.
        draws: how many mixtures of each cell.

    Returns:
        For each axis, and each axis of an input longer than 1, the centres, ``(draws, cells)``,
        from 0 at the begin to 1 at the end.
    """
    leaves = [value.detach().clone().requires_grad_(value.is_floating_point()) for value in inputs]
    wanted = [number for number, leaf in enumerate(leaves) if leaf.requires_grad]
    with torch.enable_grad():
        activations = grad_run(leaves)
    generator = torch.Generator().manual_seed(seed)
    found: dict[tuple[int, int], dict[Key, NDArray[np.float64]]] = {}
    for call, axis in axes:
        activation = activations[call]
        if not activation.requires_grad:
            found[call, axis] = {}
            continue
        rows = [
            [
                _looks(activation, axis, cell, [leaves[n] for n in wanted], wanted, generator)
                for cell in range(activation.shape[axis])
            ]
            for _ in range(draws)
        ]
        found[call, axis] = {
            key: np.array([[cell.get(key, np.nan) for cell in row] for row in rows])
            for key in rows[0][0]
        }
    return found


def _looks(
    activation: Tensor,
    axis: int,
    cell: int,
    leaves: Sequence[Tensor],
    numbers: Sequence[int],
    generator: torch.Generator,
) -> dict[Key, float]:
    """The centre of mass of the squared gradient of one cell, along each axis of the inputs."""
    mixed = activation.select(axis, cell)
    signs = torch.randint(0, 2, mixed.shape, generator=generator).to(mixed) * 2 - 1
    gradients: tuple[Tensor | None, ...] = torch.autograd.grad(
        mixed, leaves, signs, retain_graph=True, allow_unused=True
    )
    found: dict[Key, float] = {}
    for number, gradient in zip(numbers, gradients, strict=True):
        if gradient is None:
            continue
        squares = torch.nan_to_num(gradient.double().square(), nan=0.0, posinf=0.0)
        for place, length in enumerate(squares.shape):
            if length < 2:
                continue
            others = [other for other in range(squares.ndim) if other != place]
            mass = (squares.sum(others) if others else squares).cpu().numpy()
            if mass.sum() > 0:
                found[number, place] = float(mass @ np.linspace(0, 1, length) / mass.sum())
    return found
