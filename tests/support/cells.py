"""Where in the input the cells of a layer look, by the input's own gradient: what a reading claims.

A layout is right where each cell of its map has the largest squared gradient of the input, summed
over cells of the map's size, at its own place.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

import gradcam_hooks as gh
from gradcam_hooks.layout.input_axes import InputAxes
from gradcam_hooks.layout.reading import bind


def own_cells(net: nn.Module, x: Tensor, result: gh.Explanation, axes: str | None = None) -> float:
    """The share of the cells of a result's map that look at their own place in the first image."""
    seen: list[Tensor] = []
    layer = net.get_submodule(result.layers[0].partition("#")[0])
    plain = layer.forward

    def forward(*args: object, **kwargs: object) -> object:
        output = plain(*args, **kwargs)
        seen.append(output if isinstance(output, Tensor) else output[0])
        return output

    leaf = x.clone().requires_grad_()
    layer.forward = forward  # type: ignore[method-assign]
    try:
        net.eval()(leaf)
    finally:
        del layer.forward
    read = InputAxes.read(axes, x.ndim)
    layout = bind(str(result.layouts[0]), seen[0].shape, read, read.size(x.shape), len(x))
    view = layout.channels_first(seen[0])
    cells = list(itertools.product(*map(range, layout.space)))
    return sum(_looks_at(view, cell, leaf, read, layout.space) == cell for cell in cells) / len(
        cells
    )


def _looks_at(
    view: Tensor, cell: tuple[int, ...], leaf: Tensor, axes: InputAxes, space: tuple[int, ...]
) -> tuple[int, ...]:
    score = view[(0, slice(None), *cell)].square().sum()
    (gradient,) = torch.autograd.grad(score, leaf, retain_graph=True)
    energy = axes.channels_first(gradient)[0].square().sum(0)
    for axis, count in enumerate(space):
        parts = energy.shape[axis] // count
        energy = energy.unflatten(axis, (count, parts)).sum(axis + 1)
    return tuple(int(one) for one in torch.unravel_index(energy.argmax(), energy.shape))
