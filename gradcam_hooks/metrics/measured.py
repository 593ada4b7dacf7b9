"""What a metric found: a number for each sample, their mean, its standard error, and curves.

Knows tensors only: no metric, no network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gradcam_hooks.errors import InputError

__all__ = ["Found", "Measured", "joined"]


@dataclass(frozen=True, eq=False)
class Found:
    """What a metric's own function returns; `Measured` is made of it.

    Attributes:
        values: a number for each sample, ``(batch[, targets])``; NaN where it has no meaning.
        curves: what the numbers were made of, by name, ``(batch[, targets], points)``.
        at: where the curves' points lie, ``(points,)``.
        higher_is_better: where a setting turns the metric's direction round.
    """

    values: Tensor
    curves: Mapping[str, Tensor] = field(default_factory=dict)
    at: Tensor | None = None
    higher_is_better: bool | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Measured:
    """What a metric found for each sample, on the CPU in float64.

    Attributes:
        metric: the metric's name in `METRICS`.
        values: a number for each sample, ``(batch[, targets])``; NaN where the metric has no
            meaning, as for an empty mask.
        higher_is_better: the direction in which maps are better.
        curves: what the numbers were made of, by name, ``(batch[, targets], points)``.
        at: where the curves' points lie, ``(points,)``.

    >>> found = Measured("deletion", torch.tensor([0.25, 0.75]).double(), False)
    >>> found, float(found), found.stderr
    (deletion 0.5 ± 0.25 of 2, lower is better, 0.5, 0.25)
    """

    metric: str
    values: Tensor
    higher_is_better: bool
    curves: Mapping[str, Tensor] = field(default_factory=dict)
    at: Tensor | None = None

    def _each(self) -> Tensor:
        """The mean of each image's targets, of the images that have any number."""
        each = self.values if self.values.ndim == 1 else self.values.nanmean(1)
        return each[~each.isnan()]

    @property
    def count(self) -> int:
        """How many images have a number."""
        return len(self._each())

    @property
    def mean(self) -> float:
        """The mean over the images that have a number; NaN where none has.

        An image's targets are averaged first, so that each image counts once.
        """
        return float(self._each().mean())

    @property
    def stderr(self) -> float:
        """The standard error of the mean over images; NaN for fewer than two."""
        each = self._each()
        return float(each.std() / math.sqrt(len(each))) if len(each) > 1 else math.nan

    def curve(self, name: str = "") -> Tensor:
        """The mean curve over images and targets, ``(points,)``; by default the only one.

        Raises:
            InputError: there is no curve of that name, or it is not clear which is meant.
        """
        if not name and len(self.curves) == 1:
            (name,) = self.curves
        if name not in self.curves:
            there = ", ".join(map(repr, self.curves)) or "none"
            raise InputError(f"{self.metric} has no curve {name!r}; it has {there}.")
        return self.curves[name].flatten(0, -2).nanmean(0)

    def __float__(self) -> float:
        return self.mean

    def __repr__(self) -> str:
        direction = "higher" if self.higher_is_better else "lower"
        spread = "" if math.isnan(self.stderr) else f" ± {self.stderr:.3g}"
        return f"{self.metric} {self.mean:.4g}{spread} of {self.count}, {direction} is better"


def joined(parts: Sequence[Measured]) -> Measured:
    """What one call on all samples would have found, of what calls on some of them found.

    Raises:
        InputError: there are none, or they are of several metrics or settings.

    >>> one = Measured("deletion", torch.zeros(2).double(), False)
    >>> joined([one, one]).values
    tensor([0., 0., 0., 0.], dtype=torch.float64)
    """
    if not parts:
        raise InputError("nothing was measured yet: call update() with samples first.")
    first = parts[0]
    for one in parts[1:]:
        if not _alike(first, one):
            raise InputError(
                f"{first!r} and {one!r} cannot be joined: the metric, its settings and the number "
                "of targets must be the same."
            )
    curves = {name: torch.cat([one.curves[name] for one in parts]) for name in first.curves}
    values = torch.cat([one.values for one in parts])
    return Measured(first.metric, values, first.higher_is_better, curves, first.at)


def _alike(one: Measured, other: Measured) -> bool:
    places = (one.at, other.at)
    return (
        (one.metric, one.higher_is_better, tuple(one.curves), one.values.shape[1:])
        == (other.metric, other.higher_is_better, tuple(other.curves), other.values.shape[1:])
        and (places[0] is None) == (places[1] is None)
        and (one.at is None or other.at is None or torch.equal(one.at, other.at))
    )
