"""All networks that the probe is judged by, and wrong claims made of right ones."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

from gradcam_hooks.layout.factors import AxisReading, Factor
from tests.support.light import Net
from tests.support.light_libraries import LIBRARY_SERIES
from tests.support.light_own import OWN
from tests.support.light_pictures import PICTURES
from tests.support.light_series import SERIES
from tests.support.light_timm import LIBRARIES

NETS: list[Net] = [*PICTURES, *SERIES, *LIBRARIES, *OWN, *LIBRARY_SERIES]

Claim = Sequence[AxisReading]


def wrong_claims(true: Claim) -> Iterator[tuple[str, Claim]]:
    """Claims that differ from the true one, of the same lengths, and what is wrong with each."""
    for number, axis in enumerate(true):
        for kind, other in (*_refactored(axis), *_moved_ends(axis)):
            yield kind, [*true[:number], other, *true[number + 1 :]]
    singles = [n for n, axis in enumerate(true) if _space(axis) and len(axis.factors) == 1]
    for one, other in itertools.pairwise(singles):
        if true[one].factors[0].keys != true[other].factors[0].keys:
            yield "height for width", _exchanged(true, one, other)
    idle = [n for n, axis in enumerate(true) if not axis.factors and axis.length >= 6]
    for one, other in zip(idle[:1], singles[:1], strict=False):
        yield "channels for space", _exchanged(true, one, other)


def _space(axis: AxisReading) -> bool:
    return any(key[1] for factor in axis.factors for key in factor.keys) and axis.length > 1


def _refactored(axis: AxisReading) -> Iterator[tuple[str, AxisReading]]:
    factors = axis.factors
    if len(factors) > 1:
        yield "factors turned", replace(axis, factors=factors[::-1])
        high, low = factors[-2:]
        for by in (2, 3):
            if high.size % by == 0:
                grid = (replace(high, size=high.size // by), replace(low, size=low.size * by))
                yield "another grid", replace(axis, factors=(*factors[:-2], *grid))
                return


def _moved_ends(axis: AxisReading) -> Iterator[tuple[str, AxisReading]]:
    free = axis.prefix + axis.suffix
    if axis.prefix:
        yield "ahead told behind", replace(axis, prefix=0, suffix=free)
    if axis.suffix:
        yield "behind told ahead", replace(axis, prefix=free, suffix=0)
    if not free and len(axis.factors) == 1 and _space(axis) and axis.length > 6:
        (factor,) = axis.factors
        shorter = (replace(factor, size=factor.size - 1),)
        yield "a class token too many", replace(axis, prefix=1, factors=shorter)
        yield "told to carry nothing", AxisReading(axis.length)


def _exchanged(true: Claim, one: int, other: int) -> Claim:
    axes = list(true)
    axes[one], axes[other] = (
        replace(true[place], length=true[target].length, factors=_sized(true[place], true[target]))
        for place, target in ((other, one), (one, other))
    )
    return axes


def _sized(axis: AxisReading, target: AxisReading) -> tuple[Factor, ...]:
    cells = target.length - axis.prefix - axis.suffix
    return tuple(replace(factor, size=cells) for factor in axis.factors)
