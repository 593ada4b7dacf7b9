"""Targets that are classes; `select`, which turns any target into scores; `settle`.

A target is what the user asks about: the predicted class, a class by number or label, several
of these per image, or any function of the output, of which the other files here have some.
`select` turns it into scores that stay in the graph, and the class numbers where there are any;
`settle` fixes what a target picks from one output, so that another is asked the same.
Knows tensors only: no layer, no map.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from gradcam_hooks.checks import check_count
from gradcam_hooks.errors import OutputError, TargetError
from gradcam_hooks.network.final_softmax import final_softmax
from gradcam_hooks.network.outputs import class_logits, find_logits, flat_logits
from gradcam_hooks.network.tree import children
from gradcam_hooks.targets.boxes import Box
from gradcam_hooks.targets.checks import detections, labelled
from gradcam_hooks.targets.scores import Binary
from gradcam_hooks.targets.segments import most_predicted

__all__ = [
    "AllClasses",
    "Classed",
    "Labelled",
    "On",
    "Selection",
    "Settling",
    "Target",
    "TopK",
    "select",
    "settle",
]


@dataclass(frozen=True)
class TopK:
    """The ``k`` classes with the highest logits of each image, the highest first."""

    k: int

    def __post_init__(self) -> None:
        check_count(self.k, "TopK(k=)", error=TargetError)


@dataclass(frozen=True)
class AllClasses:
    """Every class, in the order of the model's output."""


@dataclass(frozen=True)
class On:
    """Every label that a multi-label network says is on, its logit above 0; the highest first.

    The likeliest label of an image in which none is. Of a batch they must be as many in each.
    """


Target = (
    int
    | str
    | Sequence[int]
    | Sequence[str]
    | Tensor
    | np.ndarray
    | TopK
    | AllClasses
    | On
    | Callable[..., Tensor]
    | None
)
"""What to explain; None is the predicted class of each image, and of a detector the surest box."""


@runtime_checkable
class Labelled(Protocol):
    """A target in which a class may be named by its label."""

    def labelled(self, labels: Sequence[str] | None) -> Callable[..., Tensor]:
        """The same target with numbers in the place of labels; None: they are not known."""
        ...


@runtime_checkable
class Settling(Protocol):
    """A target that picks something from the output: a class, a region, a box."""

    def settled(self, output: object) -> Callable[..., Tensor]:
        """The target that asks of any output what this one asks of ``output``."""
        ...


@runtime_checkable
class Classed(Protocol):
    """A function of the output whose scores are scores of a class all the same."""

    def classes_of(self, output: object) -> Tensor:
        """The class numbers, a LongTensor ``(batch,)``."""
        ...


@dataclass(frozen=True)
class Selection:
    """The scores to explain, in the graph, and what they are scores of.

    Attributes:
        scores: ``(batch,)``, or ``(batch, targets)`` where several per image were asked.
        index: the class numbers, a LongTensor of the same shape; None where the target is none.
        sides: of classes of a single logit, whether each score is that logit, ``(batch,)``, or its
            negative; None where there are several.
    """

    scores: Tensor
    index: Tensor | None
    sides: Tensor | None = None


def select(
    target: Target, output: object, batch: int, labels: Sequence[str] | None = None
) -> Selection:
    """The scores that ``target`` asks for.

    A single logit stands for two classes, itself for the second and its negative for the first:
    where two labels are known these are classes 0 and 1. None is the side that is predicted; of
    an output with one label, which is a quantity, the output as it is.

    Args:
        target: see `Target`.
        output: the model's output, or the part of it that ``output=`` chose.
        batch: how many images went in.
        labels: the classes' names, where they are known.

    Raises:
        TargetError: with the legal range, length or kind.
        OutputError: a class is asked of an output that is not ``(batch, classes)``.

    >>> select(1, torch.tensor([[0.5, 2.5]]), 1).scores
    tensor([2.5000])
    """
    if target is None and _is_detection(output):
        target = Box()
    if callable(target):
        target = _named(target, labels)
        scores = _called(target, output, batch)
        index = target.classes_of(output) if isinstance(target, Classed) else None
        return Selection(scores, index)
    if detections(output) is not None:
        raise OutputError(
            "a class is asked for, but this is a detector, which returns boxes with scores and "
            "labels for each image. Pass target=Box(box=..., label=...), or Box() for the box it "
            "is most sure of."
        )
    logits = _class_logits(output, batch)
    if logits.shape[1] == 1 and not isinstance(target, AllClasses | TopK | On):
        return _of_one_logit(target, logits, labels)
    if isinstance(target, AllClasses):
        index = torch.arange(logits.shape[1], device=logits.device).expand(batch, -1)
        return Selection(logits, index)
    index = _index(target, logits.detach(), labels)
    scores = logits.gather(1, index.view(batch, -1)).view(index.shape)
    return Selection(scores, index)


def _is_detection(output: object) -> bool:
    return detections(output) is not None or "pred_boxes" in dict(children(output))


def _class_logits(output: object, batch: int) -> Tensor:
    """The logits ``(batch, classes)``.

    Raises:
        OutputError: the output is none such; says what may be asked of it.
    """
    most = most_predicted(output) if class_logits(output, batch) is None else ""
    if most:
        raise OutputError(
            f"a class is asked for, and this output is a segmentation's: {most} Say which class "
            "is to be explained and where, as in target=Segment(1) or Segment(1, mask); output= "
            "chooses another part."
        )
    logits = flat_logits(find_logits(output))
    if logits.ndim == 2 and len(logits) == 1 < batch and logits.shape[1]:
        raise OutputError(
            f"a class is asked for, and {batch} images gave one answer, {tuple(logits.shape)}: "
            "they are one bag. Share the bag's score among its images, as in "
            f"target=lambda y: y[:, 1].expand({batch}) / {batch}."
        )
    if logits.ndim != 2 or logits.shape[0] != batch or not logits.shape[1]:
        raise OutputError(
            f"a class is asked for, which needs logits of shape (batch={batch}, classes), but the "
            f"output has shape {tuple(logits.shape)}. Pass output= to choose another part, or as "
            "target= Segment (segmentation), Box (detectors), Binary or Regression (one number), "
            "or a function that takes the output and returns one score per image."
        )
    return logits


def _of_one_logit(target: Target, logits: Tensor, labels: Sequence[str] | None) -> Selection:
    """A class of a single logit ``(batch, 1)``: what speaks for it, or what speaks against it."""
    two = labels is not None and len(labels) == 2
    value = logits[:, 0]
    if target is None and (two or not labels):
        middle = 0.5 if final_softmax(logits) == "sigmoid" else 0.0
        sides = value.detach() >= middle
    elif two:
        sides = _index(target, value.detach()[:, None].expand(-1, 2), labels) == 1
    elif target is None:
        sides = torch.ones_like(value, dtype=torch.bool)
    else:
        try:
            sides = _index(target, logits.detach(), labels) == 0
        except TargetError as error:
            raise TargetError(
                f"this network has one logit, for two classes: {error} Pass target=Binary() for "
                "what speaks for its class and Binary(positive=False) for what speaks against it, "
                "or name both with labels=[...], the logit's own last."
            ) from error
    if sides.ndim != 1:
        raise TargetError(
            "of a single logit one side is explained at a time: Binary(), or a label."
        )
    index = sides.long() if two else torch.zeros_like(sides, dtype=torch.long)
    return Selection(torch.where(sides, value, -value), index, sides)


def settle(
    target: Target, output: object, batch: int, labels: Sequence[str] | None = None
) -> Target:
    """The target fixed to what it picks from ``output``, so that another is asked the same.

    The predicted class, `TopK` and labels become class numbers, or the sides of a single logit; a
    `Segment`'s predicted region a mask; the surest `Box` that box; what `Finer` compares with,
    those classes. A target that
    picks nothing, and a function of somebody else's, is given back as it is.

    Args:
        target: see `Target`.
        output: what is picked from, as for `select`.
        batch: how many images went in.
        labels: the classes' names, where they are known.

    Raises:
        TargetError, OutputError: as `select`.

    >>> settle(TopK(2), torch.tensor([[0.5, 2.5, 1.0]]), 1)
    tensor([[1, 2]])
    """
    if isinstance(target, AllClasses):
        return target
    if target is None and _is_detection(output):
        target = Box()
    if callable(target):
        target = _named(target, labels)
        return target.settled(output) if isinstance(target, Settling) else target
    selected = select(target, output, batch, labels)
    return selected.index if selected.sides is None else Binary(tuple(selected.sides.tolist()))


def _named(target: Callable[..., Tensor], labels: Sequence[str] | None) -> Callable[..., Tensor]:
    return target.labelled(labels) if isinstance(target, Labelled) else target


def _picked(target: TopK | On | None, logits: Tensor) -> Tensor:
    """The numbers of the classes that the logits choose."""
    if target is None:
        return logits.argmax(1)
    if isinstance(target, TopK):
        classes = logits.shape[1]
        if target.k > classes:
            raise TargetError(f"{target} asks for more than the {classes} classes there are.")
        return logits.topk(target.k, dim=1).indices
    counts = logits.gt(0).sum(1).clamp_min(1)
    if bool((counts != counts[0]).any()):
        raise TargetError(
            f"in these images {', '.join(map(str, counts.tolist()))} labels are on; as many "
            "must be for one call. Explain the images one by one."
        )
    return logits.topk(int(counts[0]), dim=1).indices


def _index(target: Target, logits: Tensor, labels: Sequence[str] | None) -> Tensor:
    batch, classes = logits.shape
    if target is None or isinstance(target, TopK | On):
        return _picked(target, logits)
    if isinstance(target, np.ndarray):
        if target.dtype.kind not in "iu":
            raise TargetError(f"class numbers are integers, not {target.dtype} numbers.")
        target = torch.from_numpy(target.astype(np.int64))
    if isinstance(target, Tensor):
        if target.dtype.is_floating_point or target.dtype.is_complex or target.dtype == torch.bool:
            raise TargetError(f"class numbers are integers, not {target.dtype} numbers.")
        index = target.detach().to(torch.long)
        _refuse_marks(index, classes)
    elif isinstance(target, Sequence) and not isinstance(target, str | bytes):
        index = torch.tensor([_number(one, labels) for one in target], dtype=torch.long)
    else:
        index = torch.tensor(_number(target, labels))
    if index.numel() == 1 and index.ndim < 2:
        index = index.view(1).expand(batch)
    if index.shape[:1] != (batch,) or index.ndim > 2 or not index.numel():
        raise TargetError(
            f"a target is one class for all images, or one for each of the {batch} "
            f"(or a tensor (batch={batch}, targets)), but it has shape {tuple(index.shape)}."
        )
    low, high = int(index.min()), int(index.max())  # where it lies: no device is waited for
    if low < 0 or high >= classes:
        wrong = low if low < 0 else high
        count = "; negative numbers do not count from the end" if low < 0 else ""
        raise TargetError(
            f"class {wrong} is out of range: this output has classes 0 to {classes - 1}{count}."
        )
    return index.to(logits.device)


def _refuse_marks(index: Tensor, classes: int) -> None:
    """Raise where a row marks classes with 1, which as class numbers would name some twice."""
    if index.shape[1:] == (classes,) and classes > 2 and bool(((index == 0) | (index == 1)).all()):
        raise TargetError(
            f"a tensor (batch, {classes}) of 0 and 1 marks classes, and a target names them by "
            "their numbers. Of one image pass row.nonzero()[:, 0][None]; for every label that a "
            "multi-label network says is on, target='on'."
        )


def _number(one: object, labels: Sequence[str] | None) -> int:
    """The class number of an integer (Python's, NumPy's or a tensor's) or of a label."""
    if isinstance(one, str):
        return labelled(one, labels)
    if not isinstance(one, bool):
        try:
            return operator.index(one)  # type: ignore[arg-type]  # anything else raises TypeError
        except TypeError:
            pass
    raise TargetError(
        f"a target is a class number, a label, a list of one per image, TopK, AllClasses or a "
        f"function of the output, not {type(one).__name__}: {one!r}."
    )


def _called(target: Callable[..., Tensor], output: object, batch: int) -> Tensor:
    scores = target(output)
    if not isinstance(scores, Tensor):
        raise TargetError(
            f"the target function must return a tensor of one score per image, (batch={batch},), "
            f"but it returned {type(scores).__name__}."
        )
    if scores.shape == (1,) and batch > 1:
        raise TargetError(
            f"the target function returned one score for a batch of {batch}. Where the images are "
            f"one bag, share it among them: return score.expand({batch}) / {batch}."
        )
    if scores.shape != (batch,) or not scores.is_floating_point():
        raise TargetError(
            f"the target function must return one floating-point score per image, "
            f"(batch={batch},), but it returned {tuple(scores.shape)} of {scores.dtype}."
        )
    return scores
