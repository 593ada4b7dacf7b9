"""Asks the network which axis of a layer's activation carries which axis of which input.

Light falls on each axis of each input (`light`), templates are fitted to how the activation answers
(`fits`), and what is better than chance is read: batch, space in its order, class tokens, windows.
Where it cannot tell, the reading says so. Forward passes only, unless a run with a graph is given
for short axes (`pull`). Knows tensors and a callable that runs the network.

In structured-light scanners a pattern tells each pixel of the camera which place it looks at.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from gradcam_hooks.layout import pull
from gradcam_hooks.layout.factors import AxisReading, Factor, Reading
from gradcam_hooks.layout.light import Call, Light, Progress, Run
from gradcam_hooks.layout.pull import GradRun
from gradcam_hooks.layout.seen import SeenAxis, seen, weigh_looks

__all__ = ["read"]

_DRAWS = 4
_LOUD = 20.0  # times the network's own noise
_ROUNDING = 30.0  # times the relative rounding


def read(
    run: Run,
    inputs: Sequence[Tensor],
    *,
    grad_run: GradRun | None = None,
    generator: torch.Generator | None = None,
    progress: Progress | None = None,
) -> list[Reading]:
    """Reads each call of a layer.

    Takes about ``2 + 4 + 8 (axes of the inputs but the batch)`` passes; a picture 30.

    Args:
        run: runs the network on other inputs of the same shapes and gives the activation of each
            call of the layer. It must give the same for the same inputs: put random state back.
        inputs: the model's inputs; an axis 0 longer than 1 is taken for the batch.
        grad_run: the same on leaves and in their graph, for axes of few cells.
        generator: where the noise comes from.
        progress: told of each pass.

    Returns:
        One reading for each call; none where the layer is not called the same way twice.
    """
    light = Light(run, inputs, generator, progress)
    light.shine(light.keys(), _DRAWS)
    found = [seen(call, light.inputs) for call in light.calls]
    if grad_run is not None:
        _look_closer(found, grad_run, light)
    return [_reading(call, axes, light) for call, axes in zip(light.calls, found, strict=True)]


def _look_closer(found: Sequence[Sequence[SeenAxis]], grad_run: GradRun, light: Light) -> None:
    """Ask gradients where short axes are undecided."""
    wanted = [
        (call, axis.number)
        for call, axes in enumerate(found)
        for axis in axes
        if any(evidence.short and evidence.doubt for evidence in axis.evidence.values())
    ]
    if not wanted:
        return
    for (call, number), looks in pull.centres(
        grad_run, light.inputs, wanted, light.seed + 7
    ).items():
        axis = found[call][number]
        weigh_looks(axis, looks)


def _reading(call: Call, axes: Sequence[SeenAxis], light: Light) -> Reading:
    read_axes = tuple(_carried(axis) for axis in axes)
    carried = {key for axis in read_axes for factor in axis.factors for key in factor.keys}
    answered = {number for number, _ in call.answers}
    channels = []
    for number, value in enumerate(light.inputs):
        gone = [
            place
            for place, length in enumerate(value.shape)
            if place and length > 1 and (number, place) not in carried
        ]
        channels.append(gone[0] if number in answered and len(gone) == 1 else None)
    own = sum(1 for axis in read_axes if axis.length > 1 and not axis.factors) + sum(
        1 for axis in read_axes for factor in axis.factors if not factor.keys
    )
    return Reading(
        shape=call.shape,
        axes=read_axes,
        channels=tuple(channels),
        seen=tuple(number in answered for number in range(len(light.inputs))),
        mixed=own > 0,
        doubts=(*_quiet(call), *_doubts(axes, own)),
        passes=light.passes,
        noise=call.noise,
    )


def _carried(axis: SeenAxis) -> AxisReading:
    if axis.fit is None:
        return AxisReading(axis.length)
    digits = [digit for digit in axis.fit.digits if axis.evidence[digit.key].carries]
    if not digits:
        return AxisReading(axis.length)
    ahead, behind = axis.fit.ahead, axis.fit.behind
    factors: list[Factor] = []
    above = axis.length - ahead - behind
    groups = itertools.groupby(digits, key=lambda digit: (digit.size, digit.inner))
    for (size, inner), group in groups:
        alike = list(group)
        if above > size * inner:
            factors.append(Factor(None, None, above // (size * inner)))
        best = max(alike, key=lambda digit: digit.explained)
        also = tuple(sorted(digit.key for digit in alike if digit is not best))
        factors.append(Factor(*best.key, size, best.slope, also))
        above = inner
    if above > 1:
        factors.append(Factor(None, None, above))
    return AxisReading(axis.length, ahead, behind, tuple(factors))


def _quiet(call: Call) -> list[str]:
    """Doubts about the whole: noise, rounding, shapes that change."""
    doubts = []
    if call.energy < _LOUD * call.noise:
        doubts.append(
            f"the network is random: two runs differ by {call.noise:.1e} of its mean square, and "
            f"light changes it by {call.energy:.1e}"
        )
    elif call.energy <= (_ROUNDING * call.eps) ** 2:
        doubts.append("the layer hardly answers light; float64 may help")
    doubts.extend(f"input {number} changes the layer's shape" for number in sorted(call.unsteady))
    return doubts


def _doubts(axes: Sequence[SeenAxis], own: int) -> list[str]:
    doubts = [
        f"axis {axis.number} and axis {key[1]} of input {key[0]}: {evidence.doubt}"
        for axis in axes
        for key, evidence in axis.evidence.items()
        if evidence.doubt
    ]
    if own > 1:
        doubts.append(f"{own} axes carry nothing of the inputs: which of them are channels?")
    return doubts
