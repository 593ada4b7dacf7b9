"""Asks the network which axis of a layer's activation carries which axis of which input.

Light falls on each axis of each input (`light`), templates are fitted to how the activation answers
(`fits`), and what is better than chance is read (`seen`): batch, space in its order, class tokens,
windows. Where it cannot tell, the reading says so. Forward passes only, unless a run with a graph
is given for short axes (`pull`). Knows tensors and a callable that runs the network.

In structured-light scanners a pattern tells each pixel of the camera which place it looks at.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from gradcam_hooks.layout import pull
from gradcam_hooks.layout.factors import AxisReading, Factor, Reading, twice
from gradcam_hooks.layout.fits import FEW
from gradcam_hooks.layout.light import Call, Light, Progress, Run
from gradcam_hooks.layout.pull import GradRun
from gradcam_hooks.layout.seen import SeenAxis, look_again, seen, weigh_looks

__all__ = ["read"]

_DRAWS, _CLOSE_DRAWS = 4, 8
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

    Takes ``2 + 4 + 8 n`` passes, ``n`` the axes of the inputs but the batch: a picture 30. Where an
    axis stays undecided, up to ``16 n`` more.

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
    keys = light.keys()
    lengths = {(number, axis): light.inputs[number].shape[axis] for number, axis in keys}
    light.shine(keys, _DRAWS)
    if any(_drowned(call) for call in light.calls):
        light.brighten()
        light.shine(keys, _DRAWS)
    found = [seen(call.shape, call.answers, lengths) for call in light.calls]
    if closer := _unsettled(light.calls, found):
        longer = [key for key in keys if key[1] and lengths[key] >= FEW]
        light.look_closer(longer, _CLOSE_DRAWS, closer)
        for call, axes in zip(light.calls, found, strict=True):
            look_again(axes, call, lengths)
    if grad_run is not None:
        _pull(found, grad_run, light)
    return [_reading(call, axes, light) for call, axes in zip(light.calls, found, strict=True)]


def _unsettled(calls: Sequence[Call], found: Sequence[Sequence[SeenAxis]]) -> dict[int, list[int]]:
    """The axes that want a closer look: in doubt, or one of several that carry nothing."""
    wanted = {}
    for number, (call, axes) in enumerate(zip(calls, found, strict=True)):
        if _quiet(call):
            continue
        own = [axis for axis in axes if axis.gap > 1]
        mine = [axis for axis in axes if axis.doubtful or (len(own) > 1 and axis in own)]
        if places := [axis.number for axis in mine if axis.length >= FEW - 2]:
            wanted[number] = places
    return wanted


def _pull(found: Sequence[Sequence[SeenAxis]], grad_run: GradRun, light: Light) -> None:
    """Ask gradients where short axes are undecided."""
    wanted = [
        (call, axis.number)
        for call, axes in enumerate(found)
        for axis in axes
        if any(evidence.short and evidence.doubt for evidence in axis.evidence.values())
    ]
    if wanted:
        centres = pull.centres(grad_run, light.inputs, wanted, light.seed + 7)
        for (call, number), looks in centres.items():
            weigh_looks(found[call][number], looks)


def _reading(call: Call, axes: Sequence[SeenAxis], light: Light) -> Reading:
    carried = tuple(_carried(axis, call) for axis in axes)
    own = sum(axis.length > 1 and not axis.factors for axis in carried)
    own += sum(not factor.keys and not factor.inputs for a in carried for factor in a.factors)
    return Reading(
        shape=call.shape,
        axes=carried,
        mixed=own > 0,
        doubts=(*_quiet(call), *_doubts(axes, carried, own)),
        passes=light.passes,
    )


def _carried(axis: SeenAxis, call: Call) -> AxisReading:
    if axis.fit is None or not axis.digits:
        return AxisReading(axis.length)
    ahead, behind = axis.fit.ahead, axis.fit.behind
    factors: list[Factor] = []
    above = axis.length - ahead - behind
    for (size, inner), group in itertools.groupby(axis.digits, lambda d: (d.size, d.inner)):
        alike = list(group)
        if above > size * inner:
            factors.append(_between(axis, call, above // (size * inner), size * inner))
        best = max(alike, key=lambda digit: digit.explained)
        also = tuple(sorted(digit.key for digit in alike if digit is not best))
        factors.append(Factor(*best.key, size, best.slope, also))
        above = inner
    if above > 1:
        factors.append(_between(axis, call, above, 1))
    return AxisReading(axis.length, ahead, behind, tuple(factors))


def _between(axis: SeenAxis, call: Call, size: int, inner: int) -> Factor:
    """A factor that carries no axis of an input; it may tell the inputs themselves apart."""
    answering: dict[int, list[bool]] = {}
    for (number, _), answer in call.answers.items():
        weights = answer.whole.weights[axis.number]
        if weights.size % (size * inner):
            return Factor(None, None, size)
        steps = weights.reshape(-1, size, inner).sum((0, 2)) > 0
        known = answering.get(number, [False] * size)
        answering[number] = [bool(a or b) for a, b in zip(known, steps, strict=True)]
    by_step = [[n for n, steps in answering.items() if steps[step]] for step in range(size)]
    if all(len(step) == 1 for step in by_step) and len({step[0] for step in by_step}) == size:
        return Factor(None, None, size, inputs=tuple(step[0] for step in by_step))
    return Factor(None, None, size)


def _drowned(call: Call) -> bool:
    """Whether the layer's answer may be rounding."""
    return call.energy <= (_ROUNDING * call.eps) ** 2


def _quiet(call: Call) -> list[str]:
    """Doubts about the whole: noise, rounding, shapes that change."""
    doubts = []
    if call.energy < _LOUD * call.noise:
        doubts.append(
            f"the network is random: two runs differ by {call.noise:.1e} of its mean square, and "
            f"light changes it by {call.energy:.1e}"
        )
    elif _drowned(call):
        doubts.append("the layer hardly answers light; float64 may help")
    doubts.extend(f"input {number} changes the layer's shape" for number in sorted(call.unsteady))
    return doubts


def _doubts(axes: Sequence[SeenAxis], carried: Sequence[AxisReading], own: int) -> list[str]:
    doubts = [
        f"axis {axis.number} and axis {key[1]} of input {key[0]}: {evidence.doubt}"
        for axis in axes
        for key, evidence in axis.evidence.items()
        if evidence.doubt
    ]
    if own > 1:
        doubts.append(f"{own} axes carry nothing of the inputs: which of them are channels?")
    doubts.extend(
        f"axes {' and '.join(map(str, places))} carry axis {key[1]} of input {key[0]} each for "
        f"itself, as the weights of an attention do"
        for key, places in twice(carried).items()
    )
    return doubts
