"""A word on a map: whether anything is wrong with it, the likely cause and the next step.

A blank map without a word would be taken for an answer. `signs` looks at the signed maps, at
the gradients and at what came out; `diagnose` has a word for it. Knows tensors only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Diagnosis", "Signs", "diagnose", "is_coarse", "signs"]

_INNER = 6
"""Cells along each axis from which on a map has an inside to speak of."""

_DENSER = 8
"""How many times as much lies on a cell at the border as on one inside, to be told."""


class Diagnosis(str):
    """A word on one map, with the message behind it.

    The words: ``"ok"``, ``"coarse"``, ``"border"``, ``"all-negative"``, ``"zero-gradient"``,
    ``"constant"``, ``"saturated"``, ``"non-finite"``.

    Attributes:
        message: the likely cause and the next step; empty for ``"ok"``.
    """

    __slots__ = ("message",)
    message: str

    def __new__(cls, word: str, message: str = "") -> Diagnosis:
        """The word, and the message behind it."""
        self = super().__new__(cls, word)
        self.message = message
        return self


MESSAGES = {
    "ok": "",
    "all-negative": (
        "every position speaks against this class, so nothing is left after the ReLU. The signed "
        "map is in .raw; ask for another class (target=), or look at the score."
    ),
    "zero-gradient": (
        "no gradient of this score reaches the layer, so it has no say in it: a saturated "
        "softmax or sigmoid, dead ReLUs, or a last block of which the head reads one token. "
        "Explain the logit, or a layer that it reaches; gradcam_hooks.layers(model, x) shows them."
    ),
    "constant": (
        "the map has the same value everywhere (or a single position), so it points nowhere. Take "
        "an earlier layer; gradcam_hooks.layers(model, x) lists those with space."
    ),
    "border": (
        "nearly all of the map lies on its outermost cells, which look at the padding around the "
        "picture as much as at the picture: what is there is often no evidence. Look at it with "
        "another picture or a margin, or take an earlier layer; gradcam_hooks.layers(model, x) "
        "lists them."
    ),
    "non-finite": (
        "the map or its score has a NaN or an infinity, so the map is blank. Look for it in the "
        "input and the weights, or run in float32."
    ),
    "saturated": (
        "next to no gradient of this score is left, so the map is largely one of rounding: the "
        "score is a probability that is 1 but for rounding, or its gradients are less than float16 "
        "holds. Explain the logit (the class itself; output='logits' behind a softmax or sigmoid "
        "that the model ends in), or run in float32."
    ),
    "coarse": (
        "the layer has fewer than four cells along every axis, too few to point at anything. Take "
        "an earlier layer or a larger image."
    ),
}

_COARSE = 4
"""With fewer cells along every axis a map cannot point."""


def is_coarse(space: Sequence[int]) -> bool:
    """Whether a map of so many cells has too few to point at anything."""
    return max(space) < _COARSE


class Signs(NamedTuple):
    """What is seen of one map.

    Attributes:
        finite: whether its values and its score are finite.
        zero: whether no gradient reached any layer.
        negative: whether nothing is above zero, and something below.
        blank: whether the finished map is all zeros.
        border: whether it lies on its outermost cells.
        saturated: whether it is made of rounding.
        coarse: whether it has too few cells to point at anything.
    """

    finite: bool
    zero: bool
    negative: bool
    blank: bool
    border: bool
    saturated: bool
    coarse: bool


def signs(
    raw: Sequence[Tensor],
    zero: Tensor,
    blank: Tensor,
    scores: Tensor,
    *,
    saturated: Tensor | None = None,
) -> list[Signs]:
    """What is seen of each map; a device is asked once for all of it.

    Args:
        raw: the signed maps of each layer, ``(maps, *layer_space)``.
        zero: whether no gradient reached any layer, bool ``(maps,)``.
        blank: whether the finished map is all zeros, bool ``(maps,)``.
        scores: what each map explains, ``(maps,)``.
        saturated: which maps are made of rounding, bool ``(maps,)``; None for none.
    """
    finite = torch.stack([one.flatten(1).isfinite().all(1) for one in raw]).all(0)
    finite &= scores.isfinite()
    negative = torch.stack([one.flatten(1).amax(1) <= 0 for one in raw]).all(0)
    some = torch.stack([one.flatten(1).amin(1) < 0 for one in raw]).any(0)
    coarse = all(is_coarse(one.shape[1:]) for one in raw)
    border = torch.stack([_on_border(one) for one in raw]).all(0)
    rounded = torch.zeros_like(zero) if saturated is None else saturated
    rows = torch.stack([finite, zero, negative & some, blank, border, rounded]).T.tolist()
    return [Signs._make((*row, coarse)) for row in rows]


def diagnose(found: Sequence[Signs], hints: Mapping[str, str]) -> list[Diagnosis]:
    """A word for each map.

    Args:
        found: what is seen of it.
        hints: by word, what is known of this model beyond the message of that word.
    """
    words = [_word(one) for one in found]
    return [Diagnosis(one, f"{MESSAGES[one]} {hints.get(one, '')}".strip()) for one in words]


def _word(seen: Signs) -> str:
    if not seen.finite:
        return "non-finite"
    if seen.zero:
        return "zero-gradient"
    if seen.blank:
        return "all-negative" if seen.negative else "constant"
    if seen.saturated:
        return "saturated"
    if seen.border:
        return "border"
    return "coarse" if seen.coarse else "ok"


def _on_border(raw: Tensor) -> Tensor:
    """Which signed maps ``(maps, *space)`` lie on their outermost cells, bool ``(maps,)``."""
    space = raw.shape[1:]
    if len(space) < 2 or min(space) < _INNER:
        return torch.zeros(len(raw), dtype=torch.bool, device=raw.device)
    positive = raw.detach().relu()
    inside = positive[(slice(None),) + (slice(1, -1),) * len(space)].flatten(1)
    cells = positive[0].numel() - inside.shape[1]
    outside = positive.flatten(1).sum(1) - inside.sum(1)
    return (outside / cells > _DENSER * inside.mean(1)) & outside.isfinite()
