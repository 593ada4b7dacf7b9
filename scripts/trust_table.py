"""From the units' numbers to columns: medians, quartiles, intervals, and what is beyond chance.

A column is one measure under one heading, its pictures those of all seeds. Each way is compared
with the best baseline and with the best way on the pictures that both were asked of, by flipping
signs; Holm corrects over the ways of the column. Knows numbers alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from trust_sanity import COSTS
from trust_units import Found, Unit

from gradcam_hooks.evaluating.controls import BASELINES
from gradcam_hooks.evaluating.statistics import bootstrap, differs, exceeds, holm

__all__ = ["LOWER", "Column", "Row", "columns"]

LOWER = {
    "deletion grey",
    "deletion blur",
    "average drop",
    "complexity",
    "infidelity",
    "sMPRT",
    "MPRT",
    "shuffled labels",
    "random logit",
    "max-sensitivity",
    *COSTS,
}
"""The measures of which lower is better."""

_LEVEL = 0.05


@dataclass(frozen=True)
class Row:
    """One way in one column.

    Attributes:
        way: its name.
        count: of pictures that have a number.
        median: with the ``quartiles``; ``mean`` with its bootstrap ``interval``.
        beats: the p of being no better than the best baseline, corrected; NaN for baselines.
        best: the p of being no other than the best way, corrected; NaN for the best.
        whole: the share of its numbers that are 1, ``none`` of those that are 0.
        blurred: the mean of the same maps under a blur, on the same pictures; NaN where not asked.
        blur: the p of the blur being no better.
    """

    way: str
    count: int
    median: float
    quartiles: tuple[float, float]
    mean: float
    interval: tuple[float, float]
    whole: float
    none: float
    beats: float = math.nan
    best: float = math.nan
    blurred: float = math.nan
    blur: float = math.nan

    @property
    def beyond(self) -> bool:
        """Whether it beats the best baseline, beyond chance."""
        return self.beats <= _LEVEL


@dataclass(frozen=True)
class Column:
    """One measure under one heading.

    Attributes:
        tier, heading, measure: which it is.
        higher: whether higher is better.
        rows: by way.
        baseline: the best one.
        best: the best of the ways that were asked of all pictures.
        missing: why a way is not there.
        about: the mean of what the units told besides.
    """

    tier: str
    heading: str
    measure: str
    higher: bool
    rows: dict[str, Row]
    baseline: str
    best: str
    missing: Mapping[str, str] = field(default_factory=dict)
    about: Mapping[str, float] = field(default_factory=dict)

    @property
    def prefers_blur(self) -> tuple[int, int]:
        """How many ways have a blurred control, and how many of these it is better than."""
        asked = [row for row in self.rows.values() if not math.isnan(row.blurred)]
        sign = 1 if self.higher else -1
        return len(asked), sum(sign * (row.blurred - row.mean) > 1e-9 for row in asked)


def columns(found: Sequence[tuple[Unit, Found]]) -> list[Column]:
    """The columns of these units, in their order."""
    gathered: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    missing: dict[tuple[str, str], dict[str, str]] = {}
    about: dict[tuple[str, str], dict[str, list[float]]] = {}
    for unit, one in found:
        at = unit.tier, unit.column
        missing.setdefault(at, {}).update(one.missing)
        for name, number in one.about.items():
            about.setdefault(at, {}).setdefault(name, []).append(number)
        for measure, named in one.values.items():
            _append(gathered.setdefault((*at, measure), {}), named)
    made = []
    for (tier, heading, measure), named in gathered.items():
        told = about.get((tier, heading), {})
        means = {name: sum(many) / len(many) for name, many in told.items()}
        made.append(_column(tier, heading, measure, named, missing.get((tier, heading), {}), means))
    return made


def _append(rows: dict[str, list[float]], named: Mapping[str, Sequence[float]]) -> None:
    """One unit's numbers behind those of the units before it, NaN where a way is in one alone."""
    before = max(map(len, rows.values()), default=0)
    count = max(map(len, named.values()), default=0)
    for way in {**rows, **named}:
        rows.setdefault(way, [math.nan] * before).extend(named.get(way, [math.nan] * count))


def _column(
    tier: str,
    heading: str,
    measure: str,
    named: Mapping[str, list[float]],
    missing: Mapping[str, str],
    about: Mapping[str, float],
) -> Column:
    higher = measure not in LOWER
    values = {
        way: torch.tensor(row, dtype=torch.float64) * (1 if higher else -1)
        for way, row in named.items()
        if not all(map(math.isnan, row))
    }
    chance = torch.Generator().manual_seed(0)
    own = [way for way in values if not way.endswith(" blurred")]
    means = {way: float(values[way].nanmean()) for way in own}
    baseline = max((way for way in own if way in BASELINES), key=means.__getitem__, default="")
    compared = [way for way in own if way not in BASELINES]
    counts = {way: int((~values[way].isnan()).sum()) for way in compared}
    most = max(counts.values(), default=0)
    best = max((way for way in compared if counts[way] == most), key=means.__getitem__, default="")
    beats = _holm({way: _exceeds(values, way, baseline, chance) for way in compared})
    alike = _holm(
        {way: differs(values[way], values[best], chance) for way in compared if way != best}
    )
    rows = {}
    for way in own:
        row = _row(way, values[way], higher, chance)
        smooth = values.get(f"{way} blurred")
        blurred = blur = math.nan
        if smooth is not None:
            blurred = float(smooth.nanmean()) * (1 if higher else -1)
            blur = exceeds(smooth - values[way], chance)
        rows[way] = Row(*row, beats.get(way, math.nan), alike.get(way, math.nan), blurred, blur)
    return Column(tier, heading, measure, higher, rows, baseline, best, missing, about)


def _row(
    way: str, values: torch.Tensor, higher: bool, chance: torch.Generator
) -> tuple[str, int, float, tuple[float, float], float, tuple[float, float], float, float]:
    plain = (values if higher else -values)[~values.isnan()]
    low, middle, high = plain.quantile(torch.tensor([0.25, 0.5, 0.75]).double()).tolist()
    ends = tuple(float(end) for end in bootstrap(plain[None], chance, rounds=1000))
    whole, none = (float(one.double().mean()) for one in (plain > 1 - 1e-6, plain == 0))
    mean = float(plain.mean())
    return way, len(plain), middle, (low, high), mean, (ends[0], ends[1]), whole, none


def _exceeds(
    values: Mapping[str, torch.Tensor], way: str, other: str, chance: torch.Generator
) -> float:
    return exceeds(values[way] - values[other], chance) if other else math.nan


def _holm(named: Mapping[str, float]) -> dict[str, float]:
    return dict(zip(named, holm(list(named.values())), strict=True))
