"""Methods that disturb a layer's activation and watch the score, by the wide tail.

One forward pass, and the layers behind the named one many times: once for each channel, or once
for each position. No gradient is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from gradcam_hooks.checks import check_flag
from gradcam_hooks.methods.registry import method
from gradcam_hooks.runs.masks import filtered
from gradcam_hooks.runs.run import Run
from gradcam_hooks.runs.tail import Tail

__all__ = ["ablationcam", "reciprocam"]


@method(
    paper="Ramaswamy and Desai 2020, doi:10.1109/WACV45572.2020.00360, equation 3",
    cost="1 F + K tails",
    needs_gradients=False,
    elsewhere=(
        "The paper and grad-cam divide by the score, which turns the map over where the score is "
        "negative; grad-cam ablates to a value below the layer's smallest, not to 0."
    ),
)
def ablationcam(run: Run, *, divide: bool = False) -> list[Tensor]:
    """Ablation-CAM: channels weighted by how far the score falls without them, summed.

    ``sum_k w_k A_k``, ``w_k = y - y without k``.

    Args:
        run: the undisturbed pass.
        divide: divide each weight by ``|y|``, as the paper divides by y.

    Returns:
        For each layer the signed raw map ``(batch, [targets,] *space)``.

    Ramaswamy and Desai 2020 (doi:10.1109/WACV45572.2020.00360), equation 3; a channel is ablated to
    0. Deviation: the paper divides by y, which turns every weight over where the score is negative;
    dividing by its size scales the whole map and is left out too unless asked for.
    """
    raws = []
    for layer in run.layers:
        activation = layer.activation()
        channels = activation.shape[1]
        rows = []
        for index in range(run.batch):
            tail = Tail(run, layer, index)

            own = run.scores.detach()[index]
            ablated = tail.scores(
                channels, partial(_without, tail), done=_step(run, index, channels)
            )
            weights = own - ablated  # (channels[, targets])
            if divide:
                weights = weights / own.abs().clamp_min(torch.finfo(weights.dtype).tiny)
            rows.append(
                torch.einsum("k...,kp->...p", weights.to(activation), activation[index].flatten(1))
            )
        raw = torch.stack(rows)
        raws.append(raw.reshape(*raw.shape[:-1], *layer.layout.space))
    return raws


@method(
    paper="Byun and Lee 2022, arXiv:2209.14074",
    cost="1 F + P tails",
    needs_gradients=False,
    elsewhere=(
        "The authors' code for a network in two parts spreads by the Gaussian (gaussian=True), "
        "their code with a hook does not, which is the default here."
    ),
)
def reciprocam(
    run: Run, *, probability: bool | None = None, gaussian: bool = False
) -> list[Tensor]:
    """Recipro-CAM: the class's probability when the activation is kept at one position alone.

    ``S_i = f(A [at i])``, f the network behind the layer; prefix tokens stay as they are.

    Args:
        run: the undisturbed pass.
        probability: take the class's softmax probability for the score; by default where the
            target is a class.
        gaussian: spread what is kept over the neighbours, ``(1, 2, 1) / 4`` along each axis; what
            would lie beyond the border is lost.

    Returns:
        For each layer the raw map ``(batch, [targets,] *space)``.

    Byun and Lee 2022 (arXiv:2209.14074), with the softmax and the Gaussian of the authors' code.
    """
    if probability is None:
        probability = run.asks_classes
    check_flag(probability, "probability")
    raws = []
    for layer in run.layers:
        space = layer.layout.space
        positions = math.prod(space)
        rows = []
        for index in range(run.batch):
            tail = Tail(run, layer, index)

            kept = partial(_kept_at, tail, gaussian=gaussian)
            step = _step(run, index, positions)
            scores = tail.scores(positions, kept, probability=probability, done=step)
            rows.append(scores.movedim(0, -1))
        raws.append(torch.stack(rows).reshape(*run.scores.shape, *space))
    return raws


def _without(tail: Tail, part: slice) -> Tensor:
    """Copies of the activation, each without one of the channels in ``part``."""
    copies = tail.copies(part.stop - part.start)
    rows = torch.arange(len(copies), device=copies.device)
    copies[rows, part.start + rows] = 0
    return copies


def _kept_at(tail: Tail, part: slice, *, gaussian: bool) -> Tensor:
    """Copies of the activation, each kept at one of the positions in ``part`` alone."""
    copies = tail.copies(part.stop - part.start)
    space, count = copies.shape[2:], len(copies)
    at = torch.zeros(count, math.prod(space), dtype=copies.dtype, device=copies.device)
    rows = torch.arange(count, device=copies.device)
    at[rows, part.start + rows] = 1
    mask = at.view(count, 1, *space)
    own = (copies * mask).flatten(2).sum(2).view(*copies.shape[:2], *[1] * len(space))
    if gaussian:
        for axis in range(2, mask.ndim):
            mask = filtered(mask, mask.new_tensor([0.25, 0.5, 0.25]), axis, "constant")
    return own * mask


def _step(run: Run, index: int, count: int) -> Callable[[int], None]:
    return lambda done: run.step(index * count + done, run.batch * count)
