"""What several targets ask of a number or of an output, with one wording for all.

Knows tensors and containers; knows no target.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence

from torch import Tensor

from gradcam_hooks.errors import OutputError, TargetError
from gradcam_hooks.outputs import tree

__all__ = ["described", "detections", "legal", "whole"]


def whole(value: object, name: str) -> int:
    """A whole number from 0 up (Python's, NumPy's or a tensor's) as an int.

    Raises:
        TargetError: it is none.
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # anything else raises TypeError
    except TypeError:
        number = -1
    if number < 0 or isinstance(value, bool):
        raise TargetError(f"{name} is a whole number from 0 up, not {value!r}.")
    return number


def legal(number: int, count: int, what: str = "class") -> None:
    """Raise unless ``number`` is one of ``count`` things, counted from 0.

    Raises:
        TargetError: with the legal range.
    """
    if number >= count:
        plural = f"{what}es" if what.endswith(("s", "x")) else f"{what}s"
        legal = f"{plural} 0 to {count - 1}" if count else f"no {plural}"
        raise TargetError(f"{what} {number} is out of range: this output has {legal}.")


def described(output: object) -> str:
    """The structure of an output, for an error's text."""
    if isinstance(output, Tensor):
        return f"a tensor of shape {tuple(output.shape)}, {output.dtype}"
    return tree(output) or f"a {type(output).__name__}"


def detections(output: object) -> list[Mapping[str, Tensor]] | None:
    """The detections of each image, as torchvision's detectors return them; else None.

    They are a list of dicts with ``boxes (n, 4)``, ``scores (n,)`` and ``labels (n,)``.

    Raises:
        OutputError: such dicts whose tensors do not fit together.
    """
    if not isinstance(output, Sequence) or isinstance(output, str | bytes) or not output:
        return None
    found: list[Mapping[str, Tensor]] = []
    for one in output:
        if not isinstance(one, Mapping) or not {"boxes", "scores", "labels"} <= one.keys():
            return None
        boxes, scores, labels = one["boxes"], one["scores"], one["labels"]
        if not (
            all(isinstance(part, Tensor) for part in (boxes, scores, labels))
            and boxes.ndim == 2
            and boxes.shape[1] == 4
            and scores.shape == labels.shape == boxes.shape[:1]
        ):
            raise OutputError(
                "detections are boxes (n, 4), scores (n,) and labels (n,) for each image, but the "
                f"model's output is\n{described(output)}"
            )
        found.append(one)
    return found
