"""Targets that are classes, and `select`, which turns any target into scores.

A target is what the user asks about: the predicted class, a class by number or label, several
of these per image, or any function of the output, of which the other files here have some.
`select` turns it into scores that stay in the graph, and the class numbers where there are any.
Knows tensors only: no layer, no map.
"""

from __future__ import annotations

import difflib
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gradcam_hooks.errors import OutputError, TargetError
from gradcam_hooks.outputs import find_logits
from gradcam_hooks.targets.checks import detections

__all__ = ["AllClasses", "Selection", "Target", "TopK", "select"]


@dataclass(frozen=True)
class TopK:
    """The ``k`` classes with the highest logits of each image, the highest first."""

    k: int

    def __post_init__(self) -> None:
        if isinstance(self.k, bool) or not isinstance(self.k, int) or self.k < 1:
            raise TargetError(f"TopK takes a whole number from 1 up, not {self.k!r}.")


@dataclass(frozen=True)
class AllClasses:
    """Every class, in the order of the model's output."""


Target = (
    int
    | str
    | Sequence[int]
    | Sequence[str]
    | Tensor
    | np.ndarray
    | TopK
    | AllClasses
    | Callable[..., Tensor]
    | None
)
"""What to explain; None is the predicted class of each image."""


@dataclass(frozen=True)
class Selection:
    """The scores to explain, in the graph, and what they are scores of.

    Attributes:
        scores: ``(batch,)``, or ``(batch, targets)`` where several per image were asked.
        index: the class numbers, a LongTensor of the same shape; None where the target is none.
    """

    scores: Tensor
    index: Tensor | None


def select(
    target: Target, output: object, batch: int, labels: Sequence[str] | None = None
) -> Selection:
    """The scores that ``target`` asks for.

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
    if callable(target) and not isinstance(target, TopK | AllClasses):
        return Selection(_called(target, output, batch), None)
    if detections(output) is not None:
        raise OutputError(
            "a class is asked for, but this is a detector, which returns boxes with scores and "
            "labels for each image. Pass target=Box(box=..., label=...), or Box() for the box it "
            "is most sure of."
        )
    logits = find_logits(output)
    if logits.ndim != 2 or logits.shape[0] != batch or not logits.shape[1]:
        raise OutputError(
            f"a class is asked for, which needs logits of shape (batch={batch}, classes), but the "
            f"output has shape {tuple(logits.shape)}. Pass output= to choose another part, or as "
            "target= Segment (segmentation), Box (detectors), Binary or Regression (one number), "
            "or a function that takes the output and returns one score per image."
        )
    classes = logits.shape[1]
    if isinstance(target, AllClasses):
        index = torch.arange(classes, device=logits.device).expand(batch, -1)
        return Selection(logits, index)
    index = _index(target, logits.detach(), labels)
    scores = logits.gather(1, index.view(batch, -1)).view(index.shape)
    return Selection(scores, index)


def _index(target: Target, logits: Tensor, labels: Sequence[str] | None) -> Tensor:
    batch, classes = logits.shape
    if target is None:
        return logits.argmax(1)
    if isinstance(target, TopK):
        if target.k > classes:
            raise TargetError(f"{target} asks for more than the {classes} classes there are.")
        return logits.topk(target.k, dim=1).indices
    if isinstance(target, np.ndarray):
        if target.dtype.kind not in "iu":
            raise TargetError(f"class numbers are integers, not {target.dtype} numbers.")
        target = torch.from_numpy(target.astype(np.int64))
    if isinstance(target, Tensor):
        if target.dtype.is_floating_point or target.dtype.is_complex or target.dtype == torch.bool:
            raise TargetError(f"class numbers are integers, not {target.dtype} numbers.")
        index = target.detach().to(logits.device, torch.long)
    elif isinstance(target, Sequence) and not isinstance(target, str | bytes):
        index = torch.tensor(
            [_number(one, labels) for one in target], dtype=torch.long, device=logits.device
        )
    else:
        index = torch.tensor(_number(target, labels), device=logits.device)
    if index.numel() == 1 and index.ndim < 2:
        index = index.view(1).expand(batch)
    if index.shape[:1] != (batch,) or index.ndim > 2 or not index.numel():
        raise TargetError(
            f"a target is one class for all images, or one for each of the {batch} "
            f"(or a tensor (batch={batch}, targets)), but it has shape {tuple(index.shape)}."
        )
    low, high = int(index.min()), int(index.max())
    if low < 0 or high >= classes:
        wrong = low if low < 0 else high
        count = "; negative numbers do not count from the end" if low < 0 else ""
        raise TargetError(
            f"class {wrong} is out of range: this output has classes 0 to {classes - 1}{count}."
        )
    return index


def _number(one: object, labels: Sequence[str] | None) -> int:
    """The class number of an integer (Python's, NumPy's or a tensor's) or of a label."""
    if isinstance(one, str):
        return _labelled(one, labels)
    if not isinstance(one, bool):
        try:
            return operator.index(one)  # type: ignore[arg-type]  # anything else raises TypeError
        except TypeError:
            pass
    raise TargetError(
        f"a target is a class number, a label, a list of one per image, TopK, AllClasses or a "
        f"function of the output, not {type(one).__name__}: {one!r}."
    )


def _labelled(label: str, labels: Sequence[str] | None) -> int:
    if labels is None:
        raise TargetError(
            f"class {label!r} is asked for by its label, but the labels of this model are not "
            "known. Pass labels=[...] or the class number."
        )
    folded = [known.casefold() for known in labels]
    matches = [i for i, known in enumerate(labels) if known == label] or [
        i for i, known in enumerate(folded) if known == label.casefold()
    ]
    if len(matches) == 1:
        return matches[0]
    if matches:
        numbers = ", ".join(map(str, matches))
        raise TargetError(f"several classes are called {label!r}: {numbers}. Pass the number.")
    near = difflib.get_close_matches(label.casefold(), folded, n=3, cutoff=0.5)
    hint = " or ".join(repr(labels[folded.index(one)]) for one in near)
    hint = f"did you mean {hint}?" if near else f"the first are {', '.join(labels[:5])}."
    raise TargetError(f"no class is called {label!r} among the {len(labels)} labels; {hint}")


def _called(target: Callable[..., Tensor], output: object, batch: int) -> Tensor:
    scores = target(output)
    if not isinstance(scores, Tensor):
        raise TargetError(
            f"the target function must return a tensor of one score per image, (batch={batch},), "
            f"but it returned {type(scores).__name__}."
        )
    if scores.shape != (batch,) or not scores.is_floating_point():
        raise TargetError(
            f"the target function must return one floating-point score per image, "
            f"(batch={batch},), but it returned {tuple(scores.shape)} of {scores.dtype}."
        )
    return scores
