"""How far methods agree: the maps of a few quick ones on some of the pictures, side by side.

Where methods that read the same layer disagree, a map tells of its method and not of the network
alone. What that costs is bounded, and told.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn

from gradcam_hooks.auditing.looking import Look, Seen, positive
from gradcam_hooks.auditing.pictures import Pictures
from gradcam_hooks.errors import GradCamHooksError
from gradcam_hooks.maps import resize
from gradcam_hooks.methods import method_of
from gradcam_hooks.metrics.likeness import alike

__all__ = ["QUICK", "Agreement", "agreement_of", "sampled"]

QUICK = ("gradcam", "hirescam", "layercam")
"""A forward and a backward pass each."""


@dataclass(frozen=True, eq=False)
class Agreement:
    """How far the maps of several methods agree, by the correlation of ranks (Spearman's).

    Attributes:
        methods: the audit's own, and the others that were asked.
        numbers: of the pictures on which they were, rising.
        values: for each of these the mean over pairs of methods, from -1 to 1; NaN where a map is
            blank.
        pairs: of two methods the mean over the pictures.
        left_out: the methods that do not work on this network, with the reason.
    """

    methods: tuple[str, ...]
    numbers: tuple[int, ...]
    values: Tensor = field(repr=False)
    pairs: Mapping[tuple[str, str], float]
    left_out: Mapping[str, str]

    def of(self, members: Sequence[int]) -> tuple[float | None, int]:
        """The mean of those of these pictures that were asked, and how many these are."""
        each = self.each()
        known = [each[number] for number in members if not math.isnan(each.get(number, math.nan))]
        return (sum(known) / len(known) if known else None), len(known)

    def each(self) -> dict[int, float]:
        """The value of each picture that was asked, by its number."""
        return dict(zip(self.numbers, self.values.tolist(), strict=True))

    @property
    def text(self) -> str:
        """What was asked, what it cost and what came, in words."""
        several = len(self.methods) - 1
        lost = " ".join(f"{name} was left out: {why}" for name, why in self.left_out.items())
        asked = (
            f"On {len(self.numbers):,} of the pictures, drawn evenly of the classes, "
            f"{', '.join(self.methods[1:])} were asked beside {self.methods[0]}: "
            f"{several * len(self.numbers):,} more maps."
        )
        if not several:
            return lost
        told = ", ".join(
            f"{one} and {other} {value:.2f}"
            for (one, other), value in self.pairs.items()
            if not math.isnan(value)
        )
        return " ".join(filter(None, [asked, f"The ranks correlate by {told}.", lost]))


def sampled(answers: Tensor, most: int, generator: torch.Generator) -> list[int]:
    """So many pictures at most, of each class in turn, rising.

    >>> answers = torch.tensor([0] * 90 + [1] * 10)
    >>> drawn = sampled(answers, 8, torch.Generator().manual_seed(0))
    >>> len(drawn), sum(number < 90 for number in drawn)
    (8, 4)
    """
    pools = []
    for answer in sorted(set(answers.tolist())):
        own = (answers == answer).nonzero()[:, 0]
        pools.append(own[torch.randperm(len(own), generator=generator)].tolist())
    pools.sort(key=len, reverse=True)
    turns = itertools.chain.from_iterable(itertools.zip_longest(*pools))
    drawn = (number for number in turns if number is not None)
    return sorted(itertools.islice(drawn, most))


def agreement_of(
    network: nn.Module, pictures: Pictures, seen: Seen, look: Look, most: int, seed: int
) -> Agreement | None:
    """Ask the quick methods on some pictures; None where none is to be asked.

    Args:
        network: the audit's.
        pictures: the audit's.
        seen: the audit's own maps.
        look: how these were made; the others are of the same layers and the same target.
        most: pictures at most.
        seed: draws them.
    """
    if not most:
        return None
    row = method_of(look.method)  # type: ignore[arg-type]  # it says what it takes
    numbers = sampled(seen.answers, most, torch.Generator().manual_seed(seed))
    options = {key: one for key, one in look.options.items() if key not in row.parameters}
    maps, left_out = {row.name: seen.maps[numbers].float()}, {}
    for name in QUICK:
        if name == row.name:
            continue
        other = Look(list(seen.layers), name, look.target, options, look.batch_size)
        try:
            maps[name] = _brought(positive(network, pictures, other, numbers), seen.maps)
        except GradCamHooksError as error:
            left_out[name] = str(error)
    each = {
        (one, other): alike(maps[one], maps[other], "spearman").double()
        for one, other in itertools.combinations(maps, 2)
    }
    means = {pair: float(values.nanmean()) for pair, values in each.items()}
    several = list(each.values()) or [torch.full((len(numbers),), torch.nan)]
    values = torch.stack(several).mean(0)
    return Agreement(tuple(maps), tuple(numbers), values, means, left_out)


def _brought(maps: Tensor, like: Tensor) -> Tensor:
    """Maps at another resolution at that of the audit's."""
    size = cast("tuple[int, int]", tuple(like.shape[1:]))
    return maps if maps.shape[1:] == size else resize(maps, size)
