"""The score of a class over a region of a segmentation: Seg-Grad-CAM's target.

A frozen callable from ``(batch, classes, *space)`` logits, two- or three-dimensional, to one score
per image. Knows tensors only: no layer, no map.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gradcam_hooks.errors import OutputError, TargetError
from gradcam_hooks.network.outputs import find_dense
from gradcam_hooks.targets.checks import labelled, legal, number, numbered, whole

__all__ = ["Segment", "Where", "most_predicted"]

Where = Tensor | np.ndarray | tuple[int, ...] | None
Reduce = Literal["sum", "mean"]


@dataclass(frozen=True, eq=False)
class Segment:
    """A class of a segmentation within a mask, at a point, or in its own predicted region.

    ``sum_p m_p y_p`` over the positions ``p`` of the output, ``y`` the logits of the class and
    ``m`` the mask (Vinogradova, Dibrov and Myers 2020, "Towards Interpretable Semantic
    Segmentation via Gradient-weighted Class Activation Mapping", eq. 2; there ``m`` is 0 or 1).
    The logits are the output itself, its ``logits`` or ``out``, or the only tensor in it with
    the axes of a segmentation.

    Args:
        label: the class's number, or its label where the explainer knows the labels.
        where: a mask, boolean or of floating-point weights, ``(*space)`` for all images or
            ``(batch, *space)``, resized by nearest where it is not of the output's size; a point,
            a tuple such as ``(row, column)``, in positions of the output; None for the positions
            where the class is predicted (is the highest, or above 0 where it is the only one).
        reduce: ``"sum"`` as the paper's, or ``"mean"`` (weighted by the mask), which does not
            grow with the region.

    Raises:
        TargetError: the class, the point or the mask does not fit the output, or the region is
            empty.
        OutputError: no logits of a segmentation are found in the output.

    >>> logits = torch.tensor([[[[1.0, 2.0]], [[5.0, 0.0]]]])  # 2 classes, 1 x 2 positions
    >>> Segment(0)(logits), Segment(0, torch.tensor([[True, True]]))(logits)
    (tensor([2.]), tensor([3.]))
    """

    label: int | str
    where: Where = None
    reduce: Reduce = "sum"

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", numbered(self.label, "a class"))
        if self.reduce not in get_args(Reduce):
            raise TargetError(f"Segment(reduce=) is 'sum' or 'mean', not {self.reduce!r}.")
        where = self.where
        if where is None:
            return
        if isinstance(where, Tensor | np.ndarray):
            object.__setattr__(self, "where", _mask(torch.as_tensor(where).detach()))
        elif isinstance(where, tuple):
            point = tuple(whole(one, "each number of a point") for one in where)
            object.__setattr__(self, "where", point)
        else:
            raise TargetError(
                "Segment(where=) is a mask (a boolean or floating-point tensor), a point (a tuple "
                f"of whole numbers) or None, not {type(where).__name__}."
            )

    def __repr__(self) -> str:
        where = self.where
        if isinstance(where, Tensor | np.ndarray):
            shown = f"mask {tuple(where.shape)}"
        else:
            shown = "its predicted region" if where is None else str(where)
        return f"Segment({self.label!r}, where={shown}, reduce={self.reduce!r})"

    def labelled(self, labels: Sequence[str] | None) -> Segment:
        """The same with a number in the place of the label."""
        if not isinstance(self.label, str):
            return self
        return replace(self, label=labelled(self.label, labels))

    def settled(self, output: object) -> Segment:
        """The same with the region predicted in ``output``, if that is what it asks for."""
        if self.where is not None:
            return self
        logits = find_dense(output).detach()
        legal(number(self.label), logits.shape[1])
        return replace(self, where=self._predicted(logits).bool())

    def __call__(self, output: object) -> Tensor:
        """``(batch, classes, *space)`` to ``(batch,)``."""
        logits = find_dense(output)
        legal(number(self.label), logits.shape[1])
        label = logits[:, number(self.label)]
        if isinstance(self.where, tuple):
            for one in self._point(tuple(label.shape[1:])):
                label = label[:, one]
            return label
        weights = self._weights(logits.detach())
        total = (label * weights).flatten(1).sum(1)
        return total if self.reduce == "sum" else total / weights.flatten(1).sum(1)

    def _point(self, space: tuple[int, ...]) -> tuple[int, ...]:
        assert isinstance(self.where, tuple)
        inside = all(one < size for one, size in zip(self.where, space, strict=False))
        if len(self.where) != len(space) or not inside:
            raise TargetError(
                f"the point {self.where} is not in the output, whose positions are "
                f"{'x'.join(map(str, space))}. A point counts in positions of the output, which "
                "may be smaller than the input."
            )
        return self.where

    def _weights(self, logits: Tensor) -> Tensor:
        """``(batch, *space)``, at the output's size."""
        batch, space = logits.shape[0], tuple(logits.shape[2:])
        if self.where is None:
            return self._predicted(logits)
        mask = torch.as_tensor(self.where).to(logits)
        if mask.ndim not in (len(space), len(space) + 1):
            raise TargetError(
                f"a mask for this output has {len(space)} axes of space, or a batch axis ahead of "
                f"them; this one has shape {tuple(mask.shape)}, the output {tuple(logits.shape)}."
            )
        if mask.ndim == len(space):
            mask = mask[None]
        if len(mask) not in (1, batch):
            raise TargetError(f"{len(mask)} masks came for a batch of {batch}.")
        if tuple(mask.shape[1:]) != space:
            mask = interpolate(mask[:, None], space, mode="nearest")[:, 0]
        empty = [i for i, one in enumerate(mask) if not bool(one.any())]
        if empty:
            raise TargetError(
                f"the mask of image {empty[0]} is empty at the output's size, "
                f"{'x'.join(map(str, space))}; a region thinner than a position of the output is "
                "lost. Pass a wider one, or a point."
            )
        return mask.expand(batch, *space)

    def _predicted(self, logits: Tensor) -> Tensor:
        predicted = logits.argmax(1)
        single = logits.shape[1] == 1
        region = logits[:, 0].gt(0) if single else predicted.eq(number(self.label))
        for image, one in enumerate(region):
            if bool(one.any()):
                continue
            if single:
                found, ask = "its one logit is nowhere above 0", "Say"
            else:
                found, ask = _predictions(predicted[image]), "Take one of these, or say"
            raise TargetError(
                f"class {self.label} is predicted nowhere in image {image}: {found}. {ask} where= "
                "(a mask or a point)."
            )
        return region.to(logits)


def most_predicted(output: object) -> str:
    """Which classes a segmentation of two axes of space or more predicts, as a sentence.

    Empty where the output is none: nothing in it, or more than one part, has such axes.
    """
    try:
        logits = find_dense(output).detach()
    except OutputError:
        return ""
    if logits.ndim < 4 or not logits.numel() or logits[0, 0].numel() == 1:
        return ""
    said = _predictions(logits.argmax(1)) if logits.shape[1] > 1 else "it has one logit"
    return f"of shape {tuple(logits.shape)}, {said}."


def _predictions(predicted: Tensor) -> str:
    classes = Counter(predicted.flatten().tolist()).most_common()
    shown = [f"{label} ({count} positions)" for label, count in classes[:10]]
    return f"predicted there are {', '.join(shown)}{', ...' * (len(classes) > 10)}"


def _mask(mask: Tensor) -> Tensor:
    if mask.dtype != torch.bool and not mask.is_floating_point():
        raise TargetError(
            f"a mask is boolean or floating-point, not {mask.dtype}. Of a map of labels pass "
            "labels == number; of 0 and 1 pass mask.bool()."
        )
    if mask.is_floating_point() and not bool((mask >= 0).all() and mask.isfinite().all()):
        raise TargetError("a mask of weights has no negative number, NaN or infinity.")
    return mask
