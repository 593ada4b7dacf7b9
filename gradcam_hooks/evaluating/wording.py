"""What an evaluation says in words: the recommendation, and what is to be known beside it.

The words follow the numbers: no sentence says more than what was measured. Knows numbers alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from gradcam_hooks.evaluating.judging import ALPHA, Judged
from gradcam_hooks.evaluating.measures import Measure
from gradcam_hooks.evaluating.ways import Way
from gradcam_hooks.trust.evidence import SAME

__all__ = ["FAITHFUL", "Located", "Told", "listed", "recommended", "told_of_metrics", "warned"]

FAITHFUL = (
    "Faithful is not right: a map can show truly what the network uses, and the network can use "
    "the wrong thing."
)

_SEVERAL = 4
"""Ways named in a sentence."""


@dataclass(frozen=True)
class Located:
    """Of a row whether its maps lie on the object.

    Attributes:
        inside: the mean share of the map inside.
        even: the share of the picture that the object takes, which an even map has inside.
        p: of lying there more than an even map does.
    """

    inside: float
    even: float
    p: float

    @property
    def on_it(self) -> bool:
        """Whether it lies there more than an even map does, beyond noise."""
        return self.inside > self.even and self.p <= ALPHA


@dataclass(frozen=True, eq=False)
class Told:
    """What the words are made of.

    Attributes:
        rows: of the table.
        measures: the metrics.
        judged: what may be concluded.
        values: by metric, ``(rows, pictures)``.
        pictures: how many.
        passes: by row the forward passes that its maps take.
        located: by row whether it lies on the object; empty where that is not known.
    """

    rows: Sequence[Way]
    measures: Sequence[Measure]
    judged: Judged
    values: Mapping[str, Tensor]
    pictures: int
    passes: Mapping[str, float]
    located: Mapping[str, Located]

    def way(self, key: str) -> Way:
        """The row of a key."""
        return next(row for row in self.rows if row.key == key)

    def mean(self, key: str, metric: str) -> float:
        """The mean of a row's metric; NaN where it was not measured."""
        at = next(i for i, row in enumerate(self.rows) if row.key == key)
        return float(self.values[metric][at].nanmean()) if metric in self.values else math.nan

    def price(self, way: Way) -> float:
        """Passes of a row's maps: forward as counted, and one back where a formula needs it."""
        back = way.method.rule is not None and way.method.needs_gradients
        return self.passes.get(way.key, math.nan) + back

    @property
    def counting(self) -> list[Measure]:
        """The metrics that rank."""
        return [one for one in self.measures if one.ranks]


def recommended(told: Told) -> str:
    """The recommendation, or the plain word that there is none."""
    judged, count = told.judged, len(told.counting)
    if count < 2:
        return (
            "No recommendation: nothing is ranked by one metric alone, and these metrics have "
            f"{'one' if count else 'none'} that ranks. Name several, such as insertion, deletion, "
            "road and idsds."
        )
    if judged.best is None:
        return _nothing(told)
    way, own = told.way(judged.best), judged.standings[judged.best]
    where = f"{way.layer} with {way.method.title}" if way.layer else way.method.title
    parts = [
        f"{where}: over {count} metrics its maps rank best of those that beat every baseline "
        f"(mean rank {own.rank:.1f} of {len(told.rows)}, 95 % from {own.low:.1f} to "
        f"{own.high:.1f}, on {told.pictures:,} pictures)."
    ]
    alike = [
        told.way(key)
        for key, one in judged.standings.items()
        if one.alike > ALPHA and one.better_than_baselines
    ]
    for price, ways in _by_price(told, way, alike).items():
        one = len(ways) == 1
        parts.append(
            f"{listed([way.name for way in ways])} {'does' if one else 'do'} not differ from it "
            f"beyond noise and {'costs' if one else 'cost'} {price}."
        )
    if not alike and sum(row.kind == "method" for row in told.rows) > 1:
        parts.append("No other does as well.")
    return " ".join(parts)


def _by_price(told: Told, best: Way, others: Sequence[Way]) -> dict[str, list[Way]]:
    """The others by what they cost beside the best, in words."""
    found: dict[str, list[Way]] = {}
    own = told.price(best)
    for way in others:
        ratio = told.price(way) / own
        beside = f"({way.method.passes} beside {best.method.passes})"
        if way.method.passes == best.method.passes:
            word = "the same"
        elif ratio > 1.2:
            word = f"more {beside}"
        elif ratio < 1 / 1.2:
            word = f"less {beside}"
        else:
            word = f"about as much {beside}"
        found.setdefault(word, []).append(way)
    return found


def _nothing(told: Told) -> str:
    """Why nothing is recommended."""
    judged = told.judged
    deaf = [
        told.way(key).name
        for key, one in judged.standings.items()
        if one.better_than_baselines and one.hangs is False
    ]
    if deaf:
        one = len(deaf) == 1
        return (
            f"Nothing is recommended: {listed(deaf)} {'ranks' if one else 'rank'} ahead of every "
            f"baseline, but {'its' if one else 'their'} maps stay the same where the network's "
            "weights are drawn anew, and so do not show what it learned."
        )
    methods = [key for key in judged.standings if told.way(key).kind == "method"]
    few = 2.0**-told.pictures * len(methods)
    if few > ALPHA:
        return (
            f"Nothing can be recommended: {told.pictures} pictures are too few to show that any of "
            f"{len(methods)} rows beats the baselines. Take more pictures, or fewer methods and "
            "layers."
        )
    near = min(methods, key=lambda key: judged.standings[key].rank)
    first = min(
        (key for key in judged.standings if told.way(key).kind == "baseline"),
        key=lambda key: judged.standings[key].rank,
    )
    return (
        f"Nothing beats the baselines on these {told.pictures:,} pictures: the maps should not be "
        f"believed. The nearest is {told.way(near).name}, mean rank "
        f"{judged.standings[near].rank:.1f}, beside {told.way(first).name} with "
        f"{judged.standings[first].rank:.1f} (p = {judged.standings[near].beats:.2g})."
    )


def warned(told: Told) -> list[str]:
    """What must be known of the recommended way: the class, its place, and what it cannot say."""
    best, parts = told.judged.best, []
    if best is not None:
        same = told.mean(best, "random_logit")
        if same >= SAME:
            parts.append(
                f"Its maps of other classes are the same (correlation {same:.2f}): it shows what "
                "the network uses, not why it says this class."
            )
        if told.judged.p_blurred <= ALPHA:
            blurred = told.judged.standings[told.way(best).control.key].rank
            parts.append(
                f"Its own map under a blur ranks ahead of it ({blurred:.1f}): these metrics reward "
                "the blur, or its finest detail says little."
            )
        place = told.located.get(best)
        if place is not None and place.on_it:
            parts.append(
                f"{place.inside:.0%} of its map lies on the known objects, which take "
                f"{place.even:.0%} of the pictures."
            )
        elif place is not None:
            parts.append(
                f"It lies beside the known objects: {place.inside:.0%} of the map is on them, no "
                f"more than of an even map ({place.even:.0%}). The maps are faithful, and what "
                "they show is that the network looks elsewhere: it may be right for the wrong "
                "reason."
            )
    deaf = [
        told.way(key).name
        for key, one in told.judged.standings.items()
        if one.hangs is False and told.way(key).kind == "method"
    ]
    if deaf:
        parts.append(
            f"Do not believe {listed(deaf)}: the maps stay the same where the network's weights "
            "are drawn anew."
        )
    return [*parts, FAITHFUL]


def told_of_metrics(told: Told) -> list[str]:
    """Where metrics contradict each other, and which are gamed here."""
    titles = {one.name: one.metric.title for one in told.measures}
    parts = [
        f"{titles[a]} and {titles[b]} contradict each other: they order the rows the other way "
        f"round (Kendall's tau {tau:.2f})."
        for a, b, tau in told.judged.contradictions[:_SEVERAL]
    ]
    return [*parts, *_gamed(told, titles)]


def _gamed(told: Told, titles: Mapping[str, str]) -> Iterator[str]:
    for name, one in told.judged.verdicts.items():
        counts = "" if one.ranks else ", which is told and does not rank,"
        if one.prefers_blur:
            yield (
                f"{titles[name]}{counts} prefers blurred maps to the methods' own, in "
                f"{one.blurred} of {one.methods} rows."
            )
        first = told.way(one.best)
        if first.kind == "baseline":
            yield f"{titles[name]}{counts} puts {first.name} first, which explains nothing."


def listed(names: Sequence[str]) -> str:
    """Names in a sentence, the first few of many.

    >>> listed(["a", "b", "c"]), listed(list("abcdef"))
    ('a, b and c', 'a, b, c, d and 2 more')
    """
    some = [
        *names[:_SEVERAL],
        *([f"{len(names) - _SEVERAL} more"] if len(names) > _SEVERAL else []),
    ]
    return some[0] if len(some) == 1 else f"{', '.join(some[:-1])} and {some[-1]}"
