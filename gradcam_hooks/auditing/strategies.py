"""What an audit tells: its strategies, each with its proof, and the finding in words.

Frozen values. The words follow the numbers: no sentence says more than what was measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from gradcam_hooks.auditing.agreement import Agreement
from gradcam_hooks.auditing.features import SIDE
from gradcam_hooks.auditing.objects import OnObjects
from gradcam_hooks.results.facts import class_word, label_of

__all__ = ["Against", "Audit", "Proof", "Q", "Strategy", "interventions", "told", "where"]

Kind = Literal["place", "look"]

Q = 0.05
"""The false discovery rate, over all groups, up to which something is taken to be found."""


@dataclass(frozen=True)
class Proof:
    """What interventions on a strategy's pictures did; all numbers but the counts are shares.

    Attributes:
        tried: how many of its pictures were covered.
        covered: whose answers became others when the region was covered.
        covered_elsewhere: the same, when as much was covered at a random place.
        put: how many of its regions were put onto pictures of other classes.
        pasted: of those pictures, which became the region's class.
        pasted_elsewhere: the same of regions from a random place of its pictures; NaN where the
            regions took the place of what the others look at.
        pasted_others: the same of the regions of other pictures of the same classes; NaN where
            there are none.
        more: how much oftener its regions did that than those others, class by class; NaN where
            there are none.
        q_covered: the false discovery rate at which covering did more than covering elsewhere.
        q_pasted: the false discovery rate at which its regions did more than the others; where
            it is all pictures, or all of a class, at which they did it in more than a quarter.
        q: the false discovery rate of both together.
        q_alike: the false discovery rate at which what lies under the maps of a group of one
            place is alike, and unlike what the classes' others show; 1 where that was not asked.
        left: how sure the network was of another answer once the region was covered, in the mean;
            0 where it stayed with its own.
        surer: how often that is more than of a picture of the classes' others, of few pictures
            that lie apart from the rest: 1 always, 0.5 as often as not; NaN of other strategies.
        q_left: the false discovery rate of that.
        replaced: whether the regions took the place of what the other pictures look at, because
            all look at the same place.
    """

    tried: int = 0
    covered: float = math.nan
    covered_elsewhere: float = math.nan
    put: int = 0
    pasted: float = math.nan
    pasted_elsewhere: float = math.nan
    pasted_others: float = math.nan
    more: float = math.nan
    q_covered: float = 1.0
    q_pasted: float = 1.0
    q: float = 1.0
    q_alike: float = 1.0
    left: float = math.nan
    surer: float = math.nan
    q_left: float = 1.0
    replaced: bool = False


@dataclass(frozen=True, eq=False)
class Strategy:
    """Pictures in which the network looks in one way.

    Attributes:
        members: their numbers.
        share: of all pictures of the audit.
        by: what they have in common: the place of the map, or the look of what lies under it.
        among: the class, by its number, among whose pictures it was found; None: among all.
        suspect: whether the network decides by something that the classes' other pictures do not
            share, proved by intervention.
        text: what was found, in words.
        proof: the numbers of the interventions.
        answers: how many of them the network calls each class.
        accuracy: the share that is right, where the true classes are known.
        accuracy_outside: the same of all other pictures.
        place: the mean of the maps' places, ``(8, 8)``, with the sum 1.
        concentration: how far its maps look at one place, from 0 to 1.
        leaves: the share of its edges in the graph that lead out of it.
        stability: how far it comes again when a fifth of the pictures is left out, from 0 to 1.
        middle: the members nearest its middle.
        edge: the members farthest from it.
    """

    members: tuple[int, ...]
    share: float
    by: Kind
    among: int | None
    suspect: bool
    text: str
    proof: Proof
    answers: dict[int, int]
    accuracy: float | None
    accuracy_outside: float | None
    place: Tensor
    concentration: float
    leaves: float
    stability: float
    middle: tuple[int, ...]
    edge: tuple[int, ...]

    def __repr__(self) -> str:
        word = "suspect, " if self.suspect else ""
        return f"Strategy({word}{len(self.members)} pictures, {self.share:.1%}: {self.text})"

    @property
    def words(self) -> str:
        """The text."""
        return self.text


@dataclass(frozen=True, eq=False)
class Audit:
    """What a network looks at across many pictures.

    Attributes:
        strategies: the suspect ones first, then by size.
        text: the finding.
        answers: the class that the network says of each picture.
        chances: how probable it says that is.
        truths: the true class of each; -1 where it is not known; None where none is.
        labels: the classes' names, where they are known.
        names: the pictures' files, where they are files.
        layers: what was explained, by dotted name.
        method: the method's name.
        words: the diagnosis of each map.
        places: where each map looks, ``(pictures, 64)``.
        maps: the maps at the layer's resolution, half precision.
        boxes: the box around each map's peak, in pixels of the input.
        size: height and width of the input.
        power: what would have been missed, in words.
        on_objects: how far each map lies on its object, where boxes or masks were given.
        agreement: how far methods agree on some of the pictures, where that was asked.
        against: the same pictures through a second network, where one was given.
    """

    strategies: tuple[Strategy, ...]
    text: str
    answers: tuple[int, ...]
    chances: tuple[float, ...]
    truths: tuple[int, ...] | None
    labels: tuple[str, ...] | None
    names: tuple[str, ...] | None
    layers: tuple[str, ...]
    method: str
    words: tuple[str, ...] = field(repr=False)
    places: Tensor = field(repr=False)
    maps: Tensor = field(repr=False)
    boxes: Tensor = field(repr=False)
    size: tuple[int, int]
    power: str
    on_objects: OnObjects | None = field(default=None, repr=False)
    agreement: Agreement | None = field(default=None, repr=False)
    against: Against | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        return f"Audit({len(self)} pictures, {len(self.strategies)} strategies: {self.text})"

    def __str__(self) -> str:
        return self.text

    def __len__(self) -> int:
        return len(self.answers)

    @property
    def suspects(self) -> tuple[Strategy, ...]:
        """The strategies that are suspect."""
        return tuple(one for one in self.strategies if one.suspect)

    @property
    def accuracy(self) -> float | None:
        """The share that is right, of the pictures whose true class is known."""
        known = [(a, t) for a, t in zip(self.answers, self.truths or (), strict=False) if t >= 0]
        return sum(a == t for a, t in known) / len(known) if known else None

    def label(self, number: int) -> str:
        """A class in words."""
        return class_word(number, label_of(number, self.labels))


@dataclass(frozen=True, eq=False)
class Against:
    """The same pictures through two networks; pictures are told by their numbers.

    Attributes:
        audit: of the second network.
        text: what sets the two apart, in words.
        overlaps: how far both look at the same place, of each picture, from 0 to 1; NaN where a
            map is blank.
        by_chance: the mean overlap of the first's maps with the second's of other pictures.
        elsewhere: the pictures whose overlap is below a half, the least first.
        extra: the pictures in which the second alone is right; where no truth is known, those
            that it calls otherwise. The most confident first.
        lost: the pictures in which the first alone is right; none where no truth is known.
        place: the mean place of the second's maps of the extra ones, ``(8, 8)``.
        proof: what covering their regions and putting them onto others did to the second's
            answers.
        suspect: how many of the extra ones are in a suspect strategy of the second.
    """

    audit: Audit
    text: str
    overlaps: tuple[float, ...] = field(repr=False)
    by_chance: float
    elsewhere: tuple[int, ...] = field(repr=False)
    extra: tuple[int, ...] = field(repr=False)
    lost: tuple[int, ...] = field(repr=False)
    place: Tensor = field(repr=False)
    proof: Proof
    suspect: int


def where(place: Tensor) -> str:
    """A mean place in words: where the middle of what is high in it lies, by thirds of the picture.

    >>> corner = torch.zeros(8, 8)
    >>> corner[7, 0] = 1
    >>> where(corner)
    'lower left'
    """
    grid = place.view(SIDE, SIDE).double().square()
    grid = grid / grid.sum().clamp_min(1e-12)
    steps = (torch.arange(SIDE, dtype=torch.float64) + 0.5) / SIDE
    row, column = float(grid.sum(1) @ steps), float(grid.sum(0) @ steps)
    vertical = ("upper", "", "lower")[min(2, int(row * 3))]
    horizontal = ("left", "", "right")[min(2, int(column * 3))]
    if not vertical and not horizontal:
        return "centre"
    alone = {"upper": "top", "lower": "bottom"}
    return (
        f"{vertical} {horizontal}" if vertical and horizontal else (horizontal or alone[vertical])
    )


def told(
    count: int,
    total: int,
    looks_at: str,
    proof: Proof,
    classes: Sequence[str],
) -> str:
    """A strategy in words.

    Args:
        count: its pictures.
        total: all of them.
        looks_at: at what, such as "look at the lower left".
        proof: the numbers.
        classes: the names of those that its pictures are called, the most frequent first.
    """
    called = classes[0] if len(classes) == 1 else f"{len(classes)} classes"
    share = f"{count / total:.{0 if count >= 0.01 * total else 1}%}"
    words = f"{count:,} of {total:,} pictures ({share}, called {called}) {looks_at}."
    return " ".join([words, *interventions(proof)])


def interventions(proof: Proof) -> list[str]:
    """What was tried, a sentence each; what was not, is not told."""
    parts = []
    covered = [
        (f"Covering it changes {{}} of {proof.tried} answers", proof.covered),
        ("covering as much elsewhere {}", proof.covered_elsewhere),
    ]
    what = "in the place of what they look at" if proof.replaced else "beside what they look at"
    put = [
        (
            f"Put onto pictures of other classes, {what}, it makes {{}} of them the class it came "
            "from",
            proof.pasted,
        ),
        ("a random part of the same pictures {}", proof.pasted_elsewhere),
        ("the regions of the class's other pictures {}", proof.pasted_others),
    ]
    for asked, shares in ((proof.tried, covered), (proof.put, put)):
        known = [words.format(f"{share:.0%}") for words, share in shares if not math.isnan(share)]
        if asked and known:
            parts.append(f"{', '.join(known)}.")
    if proof.q_left <= Q:
        parts.append(
            f"Once it is covered, the network is {proof.left:.0%} sure of another answer, surer "
            f"than where one of the class's others is covered in {proof.surer:.0%}: it overrules "
            "something else that is there."
        )
    return parts
