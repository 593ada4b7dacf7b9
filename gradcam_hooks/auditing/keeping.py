"""What a look at some pictures gave, as it may be kept, so that none is looked at twice.

Where and how it is kept is the business of whoever keeps it. Knows tensors alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Keeping", "Part", "joined"]


@dataclass(frozen=True, eq=False)
class Part:
    """What is known of some pictures after one look.

    Attributes:
        numbers: of the pictures.
        facts: by name; the first axis of each is the pictures'.
        words: the diagnosis of each map.
        layers: what was explained, by dotted name.
        finer: the layer before it that was looked at too; "" where there is none.
        size: height and width of the input.
    """

    numbers: tuple[int, ...]
    facts: dict[str, Tensor]
    words: tuple[str, ...]
    layers: tuple[str, ...]
    finer: str
    size: tuple[int, int]

    def fits(self, other: Part) -> bool:
        """Whether both are of one audit: the same layers, and facts of the same kind."""
        return self._kind() == other._kind()

    def _kind(self) -> tuple[object, ...]:
        shapes = {name: (fact.dtype, fact.shape[1:]) for name, fact in self.facts.items()}
        return self.layers, self.finer, self.size, shapes


class Keeping(Protocol):
    """What keeps parts from one audit to the next of the same network, asked in the same way."""

    def known(self) -> list[Part]:
        """What is kept of the pictures of this audit, under this audit's numbers."""

    def keep(self, part: Part) -> None:
        """Keep what was seen now."""

    def forget(self) -> None:
        """Let go of what is known, because it is of another kind than what is seen now."""


def joined(parts: Sequence[Part]) -> Part:
    """Parts as one, in the order of the pictures' numbers; a fact that one lacks, all lack."""
    first = parts[0]
    numbers = [number for part in parts for number in part.numbers]
    words = [word for part in parts for word in part.words]
    order = sorted(range(len(numbers)), key=numbers.__getitem__)
    facts = {
        name: torch.cat([part.facts[name] for part in parts])[order]
        for name in first.facts
        if all(name in part.facts for part in parts)
    }
    return Part(
        tuple(numbers[i] for i in order), facts, tuple(words[i] for i in order), first.layers,
        first.finer, first.size,
    )  # fmt: skip
