"""Light on the inputs of a network, and how a layer's activation answers it.

A ramp of noise lies on the input along one axis, rising and then falling. ``E`` is the squared
change of an element of the activation; ``E_rising / (E_rising + E_falling)`` is 0 where the element
looks at the axis' begin, 1 where at its end. Only the means of that share along each axis of the
activation are kept. Forward passes only: knows tensors and a callable that runs the network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradcam_hooks.layout.digits import Key

__all__ = ["Answer", "Call", "Effects", "Light", "Progress", "Run", "lit", "ramp"]

Run = Callable[[Sequence[Tensor]], Sequence[Tensor]]
"""Runs the network on other inputs of the same shapes; the activation of each call of the layer."""

Progress = Callable[[int, int], None]
"""Told how many passes of how many are done."""

Floats = NDArray[np.float64]

_AMPLITUDE = 0.1  # of the standard deviation: local, and yet far above rounding
_FAINT = 1e-10  # of the largest energy: what answers less does not answer
_SOFT = 0.05  # of the median energy: what answers less than that counts less


@dataclass(frozen=True)
class Effects:
    """The main effects of the share of rising light, along axes of an activation.

    Attributes:
        parts: for each axis, the part of the share's variance that lies between its cells, eta².
        means: for each axis, the mean share of each of its cells.
        weights: for each axis, how much each of its cells answered.
        energy: the mean squared change.
    """

    parts: dict[int, float]
    means: dict[int, Floats]
    weights: dict[int, Floats]
    energy: float


@dataclass(frozen=True)
class Answer:
    """The effects of light along one axis of an input: of all draws, and of each alone."""

    whole: Effects
    draws: tuple[Effects, ...]


@dataclass
class Call:
    """One call of the layer: its activation undisturbed, and its answers.

    Attributes:
        shape: the activation's shape.
        noise: the mean squared difference of two undisturbed runs.
        square: the mean square of the activation.
        eps: the relative rounding of its numbers.
        answers: for each axis of an input, how the activation answered.
        closer: the same for single axes of the activation, less what all its cells have in common.
        unsteady: the inputs that change the activation's shape.
    """

    shape: tuple[int, ...]
    noise: float
    square: float
    eps: float
    answers: dict[Key, Answer] = field(default_factory=dict)
    closer: dict[int, dict[Key, Answer]] = field(default_factory=dict)
    unsteady: set[int] = field(default_factory=set)

    @property
    def energy(self) -> float:
        """The largest mean squared change."""
        return max((answer.whole.energy for answer in self.answers.values()), default=0.0)


class Light:
    """Runs a network undisturbed and under light, and counts its passes.

    Args:
        run: runs the network on inputs.
        inputs: the inputs to disturb.
        generator: where the noise comes from; a generator of its own with seed 0 by default.
        progress: told of each pass.
        total: how many passes there will be, about.
    """

    def __init__(
        self,
        run: Run,
        inputs: Sequence[Tensor],
        generator: torch.Generator | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.run, self.inputs, self.progress = run, list(inputs), progress
        self.passes, self.total, self.amplitude = 0, 2, _AMPLITUDE
        self.seed = int(torch.randint(2**62, (), generator=generator)) if generator else 0
        with torch.no_grad():
            self.base = [value.detach().clone() for value in self.outputs(self.inputs)]
            again = self.outputs(self.inputs)
        if [value.shape for value in again] != [value.shape for value in self.base]:
            self.base = []  # the network does not even call its layer the same way twice
        self.calls = [_call(*pair) for pair in zip(self.base, again, strict=False)]

    def outputs(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """The activations for these inputs; one pass more."""
        with torch.no_grad():
            outputs = self.run(inputs)
        self.passes += 1
        if self.progress is not None:
            self.progress(self.passes, max(self.total, self.passes))
        return outputs

    def changes(self, number: int, value: Tensor) -> list[Tensor] | None:
        """The change of each call for another value of one input; None for other shapes."""
        inputs = list(self.inputs)
        inputs[number] = value
        outputs = self.outputs(inputs)
        if [output.shape for output in outputs] != [base.shape for base in self.base]:
            return None
        pairs = zip(outputs, self.base, self.calls, strict=True)
        return [_change(output, base, call.square) for output, base, call in pairs]

    def seen(self) -> list[int]:
        """The inputs that are disturbed and move an activation."""
        moving = [number for number, value in enumerate(self.inputs) if _disturbs(value)]
        masks = [number for number in moving if _is_mask(self.inputs[number])]
        moving = [number for number in moving if number not in masks] or masks
        if len(moving) < 2:
            return moving
        answering = []
        self.total += len(moving)
        for number in moving:
            value = self.inputs[number]
            changes = self.changes(number, lit(value, 0, torch.ones(len(value)), self.seed))
            if changes is None:
                for call in self.calls:
                    call.unsteady.add(number)
            elif any(bool(change.any()) for change in changes):
                answering.append(number)
        return answering

    def shine(self, keys: Sequence[Key], draws: int, *, batch_draws: int = 2) -> None:
        """Let light fall along each of these axes, and keep each call's answers."""
        self.total = self.passes + sum(2 * (draws if axis else batch_draws) for _, axis in keys)
        for key in keys:
            pairs = self.pairs(key, draws if key[1] else batch_draws)
            for number, call in enumerate(self.calls):
                answer = _answer(
                    [(up[number].square(), down[number].square()) for up, down in pairs]
                )
                if answer is not None:
                    call.answers[key] = answer

    def look_closer(self, keys: Sequence[Key], draws: int, axes: dict[int, list[int]]) -> None:
        """Light again, for axes whose cells all answer alike: what they have in common is left out.

        Args:
            keys: the axes of the inputs.
            draws: how many draws.
            axes: for each call's number, the axes of its activation.
        """
        self.total = self.passes + 2 * draws * len(keys)
        for key in keys:
            pairs = self.pairs(key, draws, further=True)
            for number, wanted in axes.items():
                for axis in wanted:
                    apart = [
                        (_apart(up[number], axis).square(), _apart(down[number], axis).square())
                        for up, down in pairs
                    ]
                    answer = _answer(apart, [axis])
                    if answer is not None:
                        self.calls[number].closer.setdefault(axis, {})[key] = answer

    def pairs(
        self, key: Key, draws: int, *, further: bool = False
    ) -> list[tuple[list[Tensor], list[Tensor]]]:
        """For each draw, the changes of each call under rising and under falling light.

        Args:
            key: the axis of an input.
            draws: how many draws of noise.
            further: whether these are other draws than the first.
        """
        number, axis = key
        value = self.inputs[number]
        rising = ramp(value.shape[axis])
        found = []
        for draw in range(draws):
            seed = self.seed + 1000 * number + 100 * further + draw  # the same along all axes
            pair = [
                self.changes(number, lit(value, axis, weights, seed, self.amplitude))
                for weights in (rising, 1 - rising)
            ]
            if pair[0] is None or pair[1] is None:
                for call in self.calls:
                    call.unsteady.add(number)
                return []
            found.append((pair[0], pair[1]))
        return found

    def brighten(self) -> None:
        """As much noise from now on as the inputs vary, where less drowns in rounding."""
        self.amplitude = 1.0

    def keys(self) -> list[Key]:
        """The axes of the inputs along which light tells anything."""
        return [
            (number, axis)
            for number in self.seen()
            for axis, length in enumerate(self.inputs[number].shape)
            if length > 1
        ]


def ramp(length: int) -> Tensor:
    """Weights from 0 to 1.

    >>> ramp(3)
    tensor([0.0000, 0.5000, 1.0000])
    """
    return torch.linspace(0, 1, length)


def lit(
    value: Tensor, axis: int, weights: Tensor, seed: int, amplitude: float = _AMPLITUDE
) -> Tensor:
    """An input under light: noise of variance ``weights`` along an axis.

    Numbers that are no floats are replaced with that chance, by others from the same range.

    Args:
        value: the input.
        axis: the axis along which the light varies.
        weights: from 0 to 1, one for each place on the axis.
        seed: of the noise; the same noise for the same seed, whatever the weights.
        amplitude: of the noise, in standard deviations of the input.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = [1] * value.ndim
    shape[axis] = -1
    weights = weights.view(shape).to(value.device)
    if not value.is_floating_point():
        low, high = int(value.min()), int(value.max())
        other = torch.randint(low, high + 1, value.shape, generator=generator).to(value.device)
        chance = torch.rand(value.shape, generator=generator).to(value.device)
        return torch.where(chance < weights, other.to(value.dtype), value)
    wide = torch.promote_types(value.dtype, torch.float32)
    noise = torch.randn(value.shape, generator=generator, dtype=wide).to(value.device)
    scale = amplitude * _deviation(value.to(wide))
    return (value.to(wide) + weights.sqrt().to(wide) * noise * scale).to(value.dtype)


def _deviation(value: Tensor) -> float:
    finite = value[value.isfinite()]
    deviation = float(finite.std()) if len(finite) > 1 else 0.0
    return deviation or 1.0


def _disturbs(value: Tensor) -> bool:
    if value.is_complex() or value.ndim == 0 or value.numel() < 2:
        return False
    return value.is_floating_point() or bool((value != value.flatten()[0]).any())


def _is_mask(value: Tensor) -> bool:
    if value.is_floating_point():
        return False
    return value.dtype == torch.bool or (int(value.min()) >= 0 and int(value.max()) <= 1)


def _call(base: Tensor, again: Tensor) -> Call:
    square = float(_change(base, torch.zeros_like(base), 1.0).square().mean())
    square = square if math.isfinite(square) and square > 0 else 1.0
    noise = float(_change(again, base, square).square().mean())
    eps = torch.finfo(base.dtype).eps if base.is_floating_point() or base.is_complex() else 0.0
    return Call(tuple(base.shape), noise, square, eps)


def _change(value: Tensor, base: Tensor, square: float) -> Tensor:
    """The change in units of the activation's root mean square, 0 where it is not finite."""
    wide = base.dtype if base.dtype in (torch.float64, torch.complex128) else torch.float32
    change = (value - base).abs() if base.is_complex() else value.to(wide) - base.to(wide)
    return torch.nan_to_num_(change / square**0.5, nan=0.0, posinf=0.0, neginf=0.0)


def _apart(change: Tensor, axis: int) -> Tensor:
    """The change less the mean of the cells of an axis."""
    return change - change.mean(axis, keepdim=True)


def _answer(
    energies: Sequence[tuple[Tensor, Tensor]], axes: Sequence[int] | None = None
) -> Answer | None:
    if not energies:
        return None
    rising, falling = (torch.stack(parts).sum(0) for parts in zip(*energies, strict=True))
    whole = _effects(rising, falling, axes)
    alone = [_effects(up, down, axes) for up, down in energies]
    return Answer(whole, tuple(effects for effects in alone if effects)) if whole else None


def _effects(rising: Tensor, falling: Tensor, axes: Sequence[int] | None = None) -> Effects | None:
    total = rising + falling
    largest = float(total.max()) if total.numel() else 0.0
    if not largest > 0:
        return None
    live = total > largest * _FAINT
    weight = torch.where(live, total / (total + _SOFT * _median(total[live])), 0.0)
    share = torch.where(live, rising / total - 0.5, 0.0)  # about 0, where floats are dense
    weighted = weight * share
    whole = float(weight.sum(dtype=torch.float64))
    mean = float(weighted.sum(dtype=torch.float64)) / whole
    variance = float((weighted * share).sum(dtype=torch.float64)) / whole - mean**2
    parts, means, weights = {}, {}, {}
    for axis in range(total.ndim) if axes is None else axes:
        sums, mass = _along(weighted, axis), _along(weight, axis)
        centres = np.where(mass > 0, sums / np.maximum(mass, 1e-30), mean)
        between = float((mass * (centres - mean) ** 2).sum()) / whole
        parts[axis] = min(1.0, between / max(variance, 1e-12))
        means[axis], weights[axis] = centres + 0.5, mass
    return Effects(parts, means, weights, float(total.mean()) / 2)


def _along(value: Tensor, axis: int) -> Floats:
    others = [other for other in range(value.ndim) if other != axis]
    summed = value.sum(others, dtype=torch.float64) if others else value.double()
    return summed.cpu().numpy()


def _median(values: Tensor, most: int = 20000) -> float:
    """The median, of evenly spaced ones of very many."""
    return float(values[:: max(1, len(values) // most)].median())
