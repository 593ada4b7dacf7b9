"""What several targets ask of a number, a label or an output, with one wording for all.

Knows tensors and containers; knows no target.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from torch import Tensor

from gradcam_hooks.checks import check_count
from gradcam_hooks.errors import OutputError, TargetError
from gradcam_hooks.network.outputs import described

__all__ = ["detections", "labelled", "legal", "number", "numbered", "whole"]


def whole(value: object, name: str) -> int:
    """A whole number from 0 up (Python's, NumPy's or a tensor's) as an int.

    Raises:
        TargetError: it is none.
    """
    return check_count(value, name, least=0, error=TargetError)


def numbered(value: object, name: str) -> int | str:
    """A class as a target holds it: its number, or its label until the labels are known.

    Raises:
        TargetError: it is neither.
    """
    if isinstance(value, str):
        if not value:
            raise TargetError(f"{name} is a number or a label, not an empty string.")
        return value
    return whole(value, name)


def number(value: int | str) -> int:
    """The number of a class that may still be a label.

    Raises:
        TargetError: it is a label, and nobody said what the labels are.
    """
    return value if isinstance(value, int) else labelled(value, None)


def labelled(label: str, labels: Sequence[str] | None) -> int:
    """The number of the class of that label; case only counts where it must.

    Raises:
        TargetError: the labels are not known, or none or several are so called.

    >>> labelled("Cat", ["dog", "cat"])
    1
    """
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


def legal(number: int, count: int, what: str = "class") -> None:
    """Raise unless ``number`` is one of ``count`` things, counted from 0.

    Raises:
        TargetError: with the legal range.
    """
    if number >= count:
        plural = f"{what}es" if what.endswith(("s", "x")) else f"{what}s"
        legal = f"{plural} 0 to {count - 1}" if count else f"no {plural}"
        raise TargetError(f"{what} {number} is out of range: this output has {legal}.")


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
