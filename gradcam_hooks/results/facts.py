"""The facts of a map: what it is a map of, as the one source of all that is told of it.

Captions, records, cards, notebooks, the terminal, pages and boards take their words and numbers
from `Facts`; where these stand is their own matter. What a network says of a picture is worked out
here too, once: its prediction, the label of a logit and the probability.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from torch import Tensor

from gradcam_hooks.methods import METHODS
from gradcam_hooks.network.outputs import probabilities
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


@dataclass(frozen=True)
class Facts:
    """What one map is a map of.

    Attributes:
        target: the class number; None where the target is no class.
        label: its name, where it is known.
        score: the score that was explained.
        probability: the class's probability in [0, 1], where the score is a logit: softmax, or
            sigmoid of a single logit. Else None.
        side: which side of a single logit was explained; None where there are several.
        layer: the layers, by their dotted names.
        layout: how the axes of each were read.
        method: the method's name.
        diagnosis: a word on the map, and the message behind it.
        trust: how far the map can be trusted; None where that was not asked.
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
    trust: str | None = None

    @property
    def subject(self) -> str:
        """The target in words: ``"tabby (281)"``, ``"class 281"``, ``"target function"``."""
        if self.target is None:
            return "target function"
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
        return self.subject, self.numbers, place, f"diagnosis: {self.diagnosis}"

    def plain(self) -> dict[str, object]:
        """The facts as plain data, for JSON: a score that is not finite is None."""
        message = self.diagnosis.message
        return {**asdict(self), "score": finite(self.score), "message": message}


@dataclass(frozen=True)
class Prediction:
    """What a network says of a picture: a class, and how probable it is.

    Attributes:
        number: of the class. The prediction of a single logit: 1 or 0 where two labels are known.
        label: its name, where it is known.
        probability: in [0, 1]; None where it is not finite.
    """

    number: int
    label: str | None
    probability: float | None


def prediction(logits: Tensor, labels: Sequence[str] | None) -> Prediction:
    """What logits ``(classes,)`` say.

    >>> import torch
    >>> said = prediction(torch.tensor([-2.0]), ("cat", "dog"))
    >>> said.number, said.label, round(said.probability, 4)
    (0, 'cat', 0.8808)
    """
    best = ranked(logits, labels, 1)[0]
    if len(logits) > 1 or labels is None or len(labels) != 2:
        return best
    if best.probability is None or best.probability >= 0.5:
        return replace(best, number=1)
    return Prediction(0, labels[0], 1 - best.probability)


def ranked(logits: Tensor, labels: Sequence[str] | None, most: int) -> list[Prediction]:
    """The highest of logits ``(classes,)``, each by its number among them, the highest first."""
    chances = probabilities(logits[None])[0].tolist()
    order = logits.sort(descending=True, stable=True).indices[:most].tolist()
    return [Prediction(i, label_of(i, labels, len(logits)), finite(chances[i])) for i in order]


def label_of(number: int, labels: Sequence[str] | None, classes: int = 0) -> str | None:
    """The label of a logit, by its number; None where it is not known.

    Args:
        number: of the logit.
        labels: the classes' names.
        classes: how many logits there are, where that is known.

    >>> label_of(1, ("cat", "dog"), 2), label_of(0, ("cat", "dog"), 1), label_of(7, ("cat",), 9)
    ('dog', 'dog', None)
    """
    names = labels or ()
    if classes == 1 and len(names) == 2:
        names = names[1:]  # the one logit of a network with two labels speaks for the second
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
) -> list[list[Facts]]:
    """The facts of each map, a list for each image; the arguments are `Explanation`'s fields."""
    rows = scores.detach().cpu().double().reshape(len(scores), -1).tolist()
    found = []
    for i, row in enumerate(rows):
        word = diagnosis[i]
        words = [word] if isinstance(word, Diagnosis) else word
        numbers = [None] * len(row) if target is None else target[i].reshape(-1).tolist()
        said = _said(numbers, row, None if logits is None else logits[i].detach().cpu(), labels)
        found.append(
            [
                Facts(number, label, score, chance, side, layers, layouts, method, one)
                for number, score, (label, chance, side), one in zip(
                    numbers, row, said, words, strict=True
                )
            ]
        )
    return found


def _said(
    numbers: Sequence[int | None],
    scores: Sequence[float],
    logits: Tensor | None,
    labels: Sequence[str] | None,
) -> list[tuple[str | None, float | None, Side | None]]:
    """The label of each class explained, its probability, and the side of a single logit.

    The last two are known where the score is the logit of its class, or a single logit's negative.
    """
    values = [] if logits is None else logits.double().tolist()
    chances = [] if logits is None else probabilities(logits[None])[0].tolist()
    found: list[tuple[str | None, float | None, Side | None]] = []
    for number, score in zip(numbers, scores, strict=True):
        if number is None:
            found.append((None, None, None))
            continue
        label, chance = label_of(number, labels, len(values)), None
        side: Side | None = None
        if len(values) == 1 and score == -values[0] != 0:
            label, chance, side = label_of(0, labels), 1 - chances[0], "negative"
        elif number < len(values) and score == values[number]:
            chance, side = chances[number], "positive" if len(values) == 1 else None
        found.append((label, None if chance is None else finite(chance), side))
    return found
