"""The facts of a map: what it is a map of, as the one source of all that is told of it.

Captions, records, cards, notebooks, the terminal, pages and boards take their words and numbers
from `Facts`; where these stand is their own matter. What a network says of a picture is worked out
here too, once: its prediction, the label of a logit and the probability.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from gradcam_hooks.methods import METHODS
from gradcam_hooks.network.outputs import probabilities
from gradcam_hooks.results.checked import Trust, Trusts
from gradcam_hooks.results.diagnosis import Diagnosis

__all__ = [
    "Facts",
    "Prediction",
    "class_word",
    "facts_of",
    "finite",
    "label_of",
    "prediction",
    "ranked",
]

Side = Literal["positive", "negative"]
"""Of a network with a single logit: what speaks for it, or what speaks against it."""


_Said: TypeAlias = "tuple[int | None, str | None, float | None, Side | None]"


@dataclass(frozen=True)
class Facts:
    """What one map is a map of.

    Attributes:
        target: the class number; None where the target is no class.
        label: its name, where it is known.
        score: the score that was explained.
        probability: the class's probability in [0, 1], where the score is a logit: softmax, or
            sigmoid of a single logit and of a multi-label network. Else None.
        side: which side of a single logit was explained; None where there are several.
        layer: the layers, by their dotted names.
        layout: how the axes of each were read.
        method: the method's name.
        diagnosis: a word on the map, and the message behind it.
        trust: a word on how far the map can be trusted, and the reasons behind it; None where that
            was not asked.
    """

    target: int | None
    label: str | None
    score: float
    probability: float | None
    side: Side | None
    layer: tuple[str, ...]
    layout: tuple[str, ...]
    method: str
    diagnosis: Diagnosis
    trust: Trust | None = None

    @property
    def subject(self) -> str:
        """The target in words: ``"tabby (281)"``, ``"class 281"``, ``"target function"``.

        Of a single logit without labels ``"against class 0"``, where its negative was explained.
        """
        if self.target is None:
            return "target function"
        if self.side == "negative" and self.label is None:
            return f"against class {self.target}"
        return class_word(self.target, self.label, numbered=True)

    @property
    def numbers(self) -> str:
        """The score, and the probability where it is known."""
        score = f"score {self.score:.4g}"
        if self.probability is None:
            return score
        small = 0 < self.probability < 0.0005
        return f"{score}, p {'< 0.001' if small else f'= {self.probability:.3f}'}"

    @property
    def place(self) -> str:
        """The layers, by their names; the outermost module has none."""
        return ", ".join(layer or "the model's output" for layer in self.layer)

    @property
    def title(self) -> str:
        """The method as its paper writes it."""
        return METHODS[self.method].title if self.method in METHODS else self.method

    def lines(self) -> tuple[str, ...]:
        """The facts as a caption: target, numbers, method and layer, and the diagnosis.

        >>> word = Diagnosis("ok")
        >>> Facts(2, "cat", 7.5, 0.25, None, ("layer4",), ("",), "gradcam", word).lines()
        ('cat (2)', 'score 7.5, p = 0.250', 'Grad-CAM, layer4', 'diagnosis: ok')
        """
        place = f"{self.title}, {self.place}"
        word = f"diagnosis: {self.diagnosis}"
        if self.trust is not None:
            word = f"{word}, check: {self.trust}"
        return self.subject, self.numbers, place, word

    def plain(self) -> dict[str, object]:
        """The facts as plain data, for JSON: a score that is not finite is None."""
        message = self.diagnosis.message
        trust = None if self.trust is None else str(self.trust)
        why = "" if self.trust is None else self.trust.message
        told = {"message": message, "trust": trust, "why": why}
        return {**vars(self), "score": finite(self.score), **told}


@dataclass(frozen=True)
class Prediction:
    """What a network says of a picture: a class, and how probable it is.

    Attributes:
        number: of the class; of a single logit 1 or 0 where two labels are known, else 0.
        label: its name, where it is known.
        probability: in [0, 1]; None where it is not finite.
    """

    number: int
    label: str | None
    probability: float | None


def prediction(
    logits: Tensor, labels: Sequence[str] | None, *, multi_label: bool = False
) -> Prediction:
    """What logits ``(classes,)`` say.

    >>> import torch
    >>> said = prediction(torch.tensor([-2.0]), ("cat", "dog"))
    >>> said.number, said.label, round(said.probability, 4)
    (0, 'cat', 0.8808)
    """
    return ranked(logits, labels, 1, multi_label=multi_label)[0]


def ranked(
    logits: Tensor, labels: Sequence[str] | None, most: int, *, multi_label: bool = False
) -> list[Prediction]:
    """The highest of logits ``(classes,)``, the highest first.

    A single logit with two labels stands for two classes: itself for the second, its negative for
    the first.
    """
    chances = probabilities(logits[None], multi_label=multi_label)[0]
    if len(logits) == 1 and labels is not None and len(labels) == 2:
        logits, chances = torch.cat([-logits, logits]), torch.cat([1 - chances, chances])
        order = [1, 0] if logits[1] >= logits[0] else [0, 1]
    else:
        order = logits.sort(descending=True, stable=True).indices.tolist()
    return [Prediction(i, label_of(i, labels), finite(float(chances[i]))) for i in order[:most]]


def label_of(number: int, labels: Sequence[str] | None) -> str | None:
    """The label of a class, by its number; None where it is not known.

    >>> label_of(1, ("cat", "dog")), label_of(7, ("cat",))
    ('dog', None)
    """
    names = labels or ()
    return names[number] if 0 <= number < len(names) else None


def class_word(number: int | None, label: str | None, *, numbered: bool = False) -> str:
    """A class for people: its label where there is one, else its number.

    Args:
        number: None where there is no class.
        label: None where it is not known.
        numbered: whether the number stands behind the label.

    >>> class_word(2, "cat"), class_word(2, "cat", numbered=True), class_word(2, None)
    ('cat', 'cat (2)', 'class 2')
    """
    if number is None:
        return label or "-"
    if label is None:
        return f"class {number}"
    return f"{label} ({number})" if numbered else label


def finite(number: float) -> float | None:
    """The number where it is finite, else None, for JSON knows no other."""
    return number if math.isfinite(number) else None


def facts_of(
    scores: Tensor,
    target: Tensor | None,
    logits: Tensor | None,
    labels: Sequence[str] | None,
    diagnosis: Sequence[Diagnosis] | Sequence[Sequence[Diagnosis]],
    layers: tuple[str, ...],
    layouts: tuple[str, ...],
    method: str,
    *,
    multi_label: bool = False,
    checks: Trusts | None = None,
) -> list[list[Facts]]:
    """The facts of each map, a list for each image; the arguments are `Explanation`'s fields."""
    rows = scores.detach().cpu().double().reshape(len(scores), -1).tolist()
    found = []
    for i, row in enumerate(rows):
        word = diagnosis[i]
        words = [word] if isinstance(word, Diagnosis) else word
        checked = [None] * len(row) if checks is None else _listed(checks[i])
        numbers = [None] * len(row) if target is None else target[i].reshape(-1).tolist()
        own = None if logits is None else logits[i].detach().cpu()
        said = _said(numbers, row, own, labels, multi_label=multi_label)
        found.append(
            [
                Facts(number, label, score, chance, side, layers, layouts, method, one, trust)
                for score, (number, label, chance, side), one, trust in zip(
                    row, said, words, checked, strict=True
                )
            ]
        )
    return found


def _listed(word: Trust | Sequence[Trust]) -> list[Trust]:
    return [word] if isinstance(word, Trust) else list(word)


def _said(
    numbers: Sequence[int | None],
    scores: Sequence[float],
    logits: Tensor | None,
    labels: Sequence[str] | None,
    *,
    multi_label: bool,
) -> list[_Said]:
    """The number of each class explained, its label, its probability, and a single logit's side.

    The last two are known where the score is the logit of its class, or a single logit's negative.
    """
    values = [] if logits is None else logits.double().tolist()
    chances = []
    if logits is not None:
        chances = probabilities(logits[None], multi_label=multi_label)[0].tolist()
    found: list[_Said] = []
    for number, score in zip(numbers, scores, strict=True):
        if number is None:
            found.append((None, None, None, None))
        elif len(values) == 1:
            found.append(_side(number, score, values[0], chances[0], labels))
        else:
            known = number < len(values) and score == values[number]
            chance = finite(chances[number]) if known else None
            found.append((number, label_of(number, labels), chance, None))
    return found


def _side(
    number: int, score: float, logit: float, chance: float, labels: Sequence[str] | None
) -> _Said:
    """The same of a single logit, which stands for two classes where two labels are known."""
    sides: dict[float, tuple[Side, float]] = {
        -logit: ("negative", 1 - chance),
        logit: ("positive", chance),
    }
    side, chance = sides.get(score, (None, math.nan))
    if labels is not None and len(labels) == 2:
        number = number if side is None else int(side == "positive")
    return number, label_of(number, labels), finite(chance), side
