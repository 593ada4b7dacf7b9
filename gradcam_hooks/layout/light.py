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

__all__ = ["Answer", "Call", "Effects", "Key", "Light", "Progress", "Run", "lit", "ramp"]

Key = tuple[int, int]
"""An axis of an input: which input, and which of its axes."""

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
    """The main effects of the share of rising light, along each axis of an activation.

    Attributes:
        parts: for each axis, the part of the share's variance that lies between its cells, eta².
        means: for each axis, the mean share of each of its cells.
        weights: for each axis, how much each of its cells answered.
        spread: the standard deviation of the share.
        energy: the mean squared change.
    """

    parts: tuple[float, ...]
    means: tuple[Floats, ...]
    weights: tuple[Floats, ...]
    spread: float
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
        unsteady: the inputs that change the activation's shape.
    """

    shape: tuple[int, ...]
    noise: float
    square: float
    eps: float
    answers: dict[Key, Answer] = field(default_factory=dict)
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
        self.passes, self.total = 0, 2
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
        """The squared change of each call for another value of one input; None for other shapes."""
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
            elif any(bool((change > 0).any()) for change in changes):
                answering.append(number)
        return answering

    def shine(self, keys: Sequence[Key], draws: int, *, batch_draws: int = 2) -> None:
        """Let light fall along each of these axes, and keep each call's answers."""
        self.total = self.passes + sum(2 * (draws if axis else batch_draws) for _, axis in keys)
        for key in keys:
            for call, energies in zip(
                self.calls, self.energies(key, draws if key[1] else batch_draws), strict=True
            ):
                whole = _effects(*(sum(energy) for energy in zip(*energies, strict=True)))
                alone = tuple(effects for pair in energies if (effects := _effects(*pair)))
                if whole is not None:
                    call.answers[key] = Answer(whole, alone)

    def energies(self, key: Key, draws: int) -> list[list[tuple[Tensor, Tensor]]]:
        """For each call and draw, the squared changes under rising and under falling light."""
        number, axis = key
        value = self.inputs[number]
        rising = ramp(value.shape[axis])
        found: list[list[tuple[Tensor, Tensor]]] = [[] for _ in self.calls]
        for draw in range(draws):
            seed = self.seed + 1000 * number + draw  # the same noise along all axes
            pair = [
                self.changes(number, lit(value, axis, weights, seed))
                for weights in (rising, 1 - rising)
            ]
            if pair[0] is None or pair[1] is None:
                for call in self.calls:
                    call.unsteady.add(number)
                return [[] for _ in self.calls]
            for energies, up, down in zip(found, pair[0], pair[1], strict=True):
                energies.append((up, down))
        return found

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


def lit(value: Tensor, axis: int, weights: Tensor, seed: int) -> Tensor:
    """An input under light: noise of variance ``weights`` along an axis.

    Numbers that are no floats are replaced with that chance, by others from the same range.

    Args:
        value: the input.
        axis: the axis along which the light varies.
        weights: from 0 to 1, one for each place on the axis.
        seed: of the noise; the same noise for the same seed, whatever the weights.
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
    scale = _AMPLITUDE * _deviation(value.to(wide))
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
    square = float(_change(base, torch.zeros_like(base), 1.0).mean())
    square = square if math.isfinite(square) and square > 0 else 1.0
    noise = float(_change(again, base, square).mean())
    eps = torch.finfo(base.dtype).eps if base.is_floating_point() or base.is_complex() else 0.0
    return Call(tuple(base.shape), noise, square, eps)


def _change(value: Tensor, base: Tensor, square: float) -> Tensor:
    """The squared change in units of the activation's mean square, 0 where it is not finite."""
    wide = base.dtype if base.dtype in (torch.float64, torch.complex128) else torch.float32
    change = (value - base).abs() if base.is_complex() else value.to(wide) - base.to(wide)
    change = (change / square**0.5).square()
    return torch.nan_to_num_(change, nan=0.0, posinf=0.0, neginf=0.0)


def _effects(rising: Tensor | int = 0, falling: Tensor | int = 0) -> Effects | None:
    if isinstance(rising, int) or isinstance(falling, int):
        return None
    total = rising + falling
    largest = float(total.max()) if total.numel() else 0.0
    if largest <= 0:
        return None
    live = total > largest * _FAINT
    weight = torch.where(live, total / (total + _SOFT * _median(total[live])), 0.0)
    share = torch.where(live, rising / total - 0.5, 0.0)  # about 0, where floats are dense
    weighted = weight * share
    axes = range(total.ndim)
    weights = [_along(weight, axis) for axis in axes]
    sums = [_along(weighted, axis) for axis in axes]
    whole = float(weights[0].sum()) if weights else float(weight)
    mean = float(weighted.sum(dtype=torch.float64)) / whole
    variance = float((weighted * share).sum(dtype=torch.float64)) / whole - mean**2
    both = list(zip(sums, weights, strict=True))
    means = [np.where(w > 0, s / np.maximum(w, 1e-30), mean) for s, w in both]
    between = [
        float((w * (m - mean) ** 2).sum()) / whole for m, w in zip(means, weights, strict=True)
    ]
    return Effects(
        parts=tuple(min(1.0, part / max(variance, 1e-12)) for part in between),
        means=tuple(m + 0.5 for m in means),
        weights=tuple(weights),
        spread=max(variance, 0.0) ** 0.5,
        energy=float(total.mean()) / 2,
    )


def _along(value: Tensor, axis: int) -> Floats:
    others = [other for other in range(value.ndim) if other != axis]
    summed = value.sum(others, dtype=torch.float64) if others else value.double()
    return summed.cpu().numpy()


def _median(values: Tensor, most: int = 20000) -> float:
    """The median, of evenly spaced ones of very many."""
    return float(values[:: max(1, len(values) // most)].median())
