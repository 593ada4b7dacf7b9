"""The softmax or sigmoid that a model ends in: noticed, told, and undone.

A probability's gradient vanishes where the model is sure, so its map may be blank though its
logit's is not. `final_softmax` notices it, `warn_of_probabilities` tells it, and `remembering`
keeps what went into each softmax and sigmoid of a forward pass, which `before_softmax` gives back.
Knows tensors only: no layer, no target.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import FrameType
from typing import Literal

import torch
from torch import Tensor
from torch.autograd.graph import Node

from gradcam_hooks.errors import ProbabilityWarning
from gradcam_hooks.network.modes import FunctionMode

__all__ = [
    "PROBABILITY_HINT",
    "FinalSoftmax",
    "before_softmax",
    "final_softmax",
    "hand_on",
    "remembering",
    "sum_to_one",
    "warn_of_probabilities",
]

FinalSoftmax = Literal["softmax", "sigmoid"]

PROBABILITY_HINT = (
    "This model ends in a {kind}, which is saturated where the model is sure; pass "
    "output='logits' to explain what goes into it."
)
"""What is known beyond the message where a probability's map vanishes; takes ``kind``."""

_BEFORE = "_gradcam_hooks_before"
"""The attribute of a softmax's or sigmoid's output that holds what went into it: so that it lives
exactly as long as that output does."""

_SQUASHING = {
    torch.softmax,
    torch.special.softmax,
    torch.nn.functional.softmax,
    Tensor.softmax,
    torch.log_softmax,
    torch.special.log_softmax,
    torch.nn.functional.log_softmax,
    Tensor.log_softmax,
    torch.sigmoid,
    torch.special.expit,
    torch.nn.functional.sigmoid,
    Tensor.sigmoid,
}
_IN_PLACE = {torch.sigmoid_, Tensor.sigmoid_}

_REARRANGING = {
    "__getitem__",
    "clone",
    "contiguous",
    "double",
    "flatten",
    "float",
    "movedim",
    "permute",
    "reshape",
    "select",
    "squeeze",
    "to",
    "transpose",
    "unsqueeze",
    "view",
}
"""Functions that may stand between the squashing and the output and mean the same of both."""

_PASSED = {
    "AliasBackward0",
    "BackwardHookFunctionBackward",
    "CloneBackward0",
    "PermuteBackward0",
    "SelectBackward0",
    "SliceBackward0",
    "SqueezeBackward0",
    "SqueezeBackward1",
    "ToCopyBackward0",
    "TransposeBackward0",
    "UnsafeViewBackward0",
    "UnsqueezeBackward0",
    "ViewBackward0",
}


def final_softmax(values: Tensor) -> FinalSoftmax | None:
    """The softmax or sigmoid that ``values (batch, classes)`` come from; None where from neither.

    Told by the graph. Where there is none, values in [0, 1] that sum to one in every row are a
    softmax's.
    """
    if values.grad_fn is None:
        several = values.ndim == 2 and values.shape[1] > 1
        return "softmax" if several and bool(sum_to_one(values).all()) else None
    node: Node | None = values.grad_fn
    while node is not None and node.name() in _PASSED:
        node = node.next_functions[0][0]
    if node is None:
        return None
    ends: dict[str, FinalSoftmax] = {"SoftmaxBackward0": "softmax", "SigmoidBackward0": "sigmoid"}
    return ends.get(node.name())


def sum_to_one(values: Tensor) -> Tensor:
    """Where ``values (batch, classes, *space)`` are probabilities already, ``(batch, 1, *space)``.

    They are in [0, 1], and sum to one as closely as their precision lets them.
    """
    close = 1e-2 if values.dtype in (torch.float16, torch.bfloat16) else 1e-4
    exact = values.detach().double()
    return (exact >= 0).all(1, keepdim=True) & ((exact.sum(1, keepdim=True) - 1).abs() <= close)


def warn_of_probabilities(kind: FinalSoftmax) -> None:
    """Tell the caller of the library that a class is explained by its probability."""
    depth, frame = 1, sys._getframe()
    while _inside(frame) and frame.f_back is not None:
        depth, frame = depth + 1, frame.f_back
    warnings.warn(
        f"this model ends in a {kind}, so what is explained is a probability, whose gradient "
        "vanishes where the model is sure. Pass output='logits' to explain what goes into the "
        f"{kind}; to explain the probability itself, filter gradcam_hooks.ProbabilityWarning.",
        ProbabilityWarning,
        stacklevel=depth,
    )


def _inside(frame: FrameType) -> bool:
    """Whether a frame runs this library (or what wraps its functions, as torch and contextlib)."""
    name = str(frame.f_globals.get("__name__", ""))
    return name.partition(".")[0] in ("gradcam_hooks", "torch", "contextlib")


def remembering(spec: object) -> AbstractContextManager[object]:
    """A block in which a forward pass keeps what `before_softmax` needs, where it may need it.

    Args:
        spec: the ``output=`` that was asked for; only ``"logits"`` costs anything.
    """
    return _Remembering() if spec == "logits" else nullcontext()


def before_softmax(values: Tensor) -> Tensor | None:
    """What went into the softmax or sigmoid that ``values`` came out of, in the graph.

    None where they came out of none, or the pass did not run under `remembering`.
    """
    before = getattr(values, _BEFORE, None)
    return before if isinstance(before, Tensor) else None


def hand_on(old: Tensor, new: Tensor) -> None:
    """Let ``new``, which takes the place of ``old``, remember what ``old`` does."""
    before = before_softmax(old)
    if before is not None:
        setattr(new, _BEFORE, before)


class _Remembering(FunctionMode):
    """Hangs on each output of a softmax or sigmoid what went into it."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[Tensor, ...] = (),  # or whatever else the function takes
        kwargs: Mapping[str, Tensor] | None = None,
    ) -> object:
        """Run the function, and keep its input where it is one of those."""
        given = kwargs or {}
        before = args[0] if args else given.get("input")
        if not isinstance(before, Tensor):
            return func(*args, **given)
        if func in _IN_PLACE:
            before = before.clone()
        result = func(*args, **given)
        if not isinstance(result, Tensor) or result is before:
            return result
        if func in _SQUASHING or func in _IN_PLACE:
            setattr(result, _BEFORE, before)
        elif func.__name__ in _REARRANGING and before_softmax(before) is not None:
            setattr(result, _BEFORE, func(getattr(before, _BEFORE), *args[1:], **given))
        return result
