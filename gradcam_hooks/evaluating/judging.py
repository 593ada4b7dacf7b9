"""From numbers to what may be concluded: which way ranks best, what it beats, who contradicts whom.

Pure functions of numbers; no network. A way is recommended where it ranks best over all metrics
together, beats every baseline, and hangs on what was learned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from gradcam_hooks.evaluating.measures import Measure
from gradcam_hooks.evaluating.statistics import bootstrap, differs, exceeds, holm, kendall, ranked
from gradcam_hooks.evaluating.ways import Way
from gradcam_hooks.trust.evidence import SAME

__all__ = ["ALPHA", "Judged", "Standing", "Verdict", "judged"]

ALPHA = 0.05
"""The error that a test may make, over all tests of a family together (Holm)."""

_TIE = 1e-4
"""Of a metric's range: what two values differ by at least, to be ranked apart."""


@dataclass(frozen=True)
class Standing:
    """A row's place among all.

    Attributes:
        rank: its mean rank over metrics and pictures, 1 for the best.
        low: the lower end of the 95 % interval over pictures.
        high: the upper end.
        beats: the p of ranking ahead of every baseline, adjusted; NaN of what is no method.
        hangs: whether its maps change where weights are drawn anew; None where it is not known.
        alike: the p of ranking as the recommended way does, adjusted; NaN where that is not asked.
    """

    rank: float
    low: float
    high: float
    beats: float = math.nan
    hangs: bool | None = None
    alike: float = math.nan

    @property
    def better_than_baselines(self) -> bool:
        """Whether it ranks ahead of every baseline beyond noise."""
        return self.beats <= ALPHA


@dataclass(frozen=True)
class Verdict:
    """What is to be said of a metric on these pictures.

    Attributes:
        ranks: whether it counts in the mean rank.
        tau: Kendall's tau of its order of methods and baselines with the mean rank's.
        blurred: of so many methods it prefers the map's blur.
        methods: how many there are.
        p_blurred: the p of preferring the blur, over all methods together.
        best: the key of the row, controls left out, that it puts first.
    """

    ranks: bool
    tau: float
    blurred: int
    methods: int
    p_blurred: float
    best: str

    @property
    def prefers_blur(self) -> bool:
        """Whether it prefers blurred maps beyond noise."""
        return self.p_blurred <= ALPHA


@dataclass(frozen=True, eq=False)
class Judged:
    """What may be concluded.

    Attributes:
        standings: by row.
        verdicts: by metric of faithfulness.
        contradictions: pairs of metrics that rank and their tau, where it is below 0.
        best: the key of the way that is recommended; None where nothing is.
        p_blurred: the p of its own map under a blur ranking ahead of it.
        ranks: every row's rank on each picture, ``(rows, pictures)``.
    """

    standings: Mapping[str, Standing]
    verdicts: Mapping[str, Verdict]
    contradictions: Sequence[tuple[str, str, float]]
    best: str | None
    p_blurred: float
    ranks: Tensor


def judged(
    rows: Sequence[Way],
    measures: Sequence[Measure],
    values: Mapping[str, Tensor],
    seed: int = 0,
) -> Judged:
    """What may be concluded.

    Args:
        rows: of the table.
        measures: the metrics.
        values: by metric a number of each row on each picture, ``(rows, pictures)``; NaN where
            there is none.
        seed: for the bootstrap and the flips.
    """
    chance = torch.Generator().manual_seed(seed)
    counting = [one for one in measures if one.ranks and one.name in values]
    ranks = _together(values, counting, len(rows))
    means = ranks.nanmean(1)
    low, high = bootstrap(ranks, chance)
    hangs = _hangs(rows, values)
    beats = _beats(rows, ranks, chance)
    best = _best(rows, means, beats, hangs) if len(counting) > 1 else None
    alike = {} if best is None else _alike(rows, ranks, best, hangs, chance)
    standings = {
        row.key: Standing(
            float(means[i]), float(low[i]), float(high[i]),
            beats.get(row.key, math.nan), hangs[row.key], alike.get(row.key, math.nan),
        )
        for i, row in enumerate(rows)
    }  # fmt: skip
    faithful = [one for one in measures if one.group == "faithfulness" and one.name in values]
    verdicts = {one.name: _verdict(one, rows, values[one.name], means, chance) for one in faithful}
    at = {row.key: i for i, row in enumerate(rows)}
    own = next((row for row in rows if row.of == best), None)
    p_blurred = 1.0
    if best is not None and own is not None:
        p_blurred = exceeds(ranks[at[best]] - ranks[at[own.key]], chance)
    others = _contradictions(rows, counting, values)
    return Judged(standings, verdicts, others, best, p_blurred, ranks)


def _together(values: Mapping[str, Tensor], counting: Sequence[Measure], rows: int) -> Tensor:
    """The mean over metrics of each row's rank on each picture."""
    several = [
        ranked(_without_rounding(values[one.name]), higher=one.metric.higher_is_better)
        for one in counting
    ] or [torch.full((rows, 1), torch.nan, dtype=torch.float64)]
    return torch.stack(several).nanmean(0)


def _without_rounding(values: Tensor) -> Tensor:
    """The values to a ten-thousandth of their range, so that equal maps tie."""
    known = values[~values.isnan()]
    span = float(known.max() - known.min()) if len(known) else 0.0
    return (values / (_TIE * span)).round() if span else values


def _hangs(rows: Sequence[Way], values: Mapping[str, Tensor]) -> dict[str, bool | None]:
    """Whether each row's maps change where the weights are drawn anew."""
    known = values.get("mprt")
    found: dict[str, bool | None] = {}
    for i, row in enumerate(rows):
        mean = math.nan if known is None else float(known[i].nanmean())
        found[row.key] = None if math.isnan(mean) else mean < SAME
    return found


def _beats(rows: Sequence[Way], ranks: Tensor, chance: torch.Generator) -> dict[str, float]:
    """The p of ranking ahead of the baseline nearest to it, of each method; Holm over methods."""
    baselines = [i for i, row in enumerate(rows) if row.kind == "baseline"]
    methods = [i for i, row in enumerate(rows) if row.kind == "method"]
    p = [
        max((exceeds(ranks[other] - ranks[i], chance) for other in baselines), default=1.0)
        for i in methods
    ]
    return {rows[i].key: one for i, one in zip(methods, holm(p), strict=True)}


def _best(
    rows: Sequence[Way],
    means: Tensor,
    beats: Mapping[str, float],
    hangs: Mapping[str, bool | None],
) -> str | None:
    fit = [
        (float(means[i]), row.key)
        for i, row in enumerate(rows)
        if row.kind == "method" and beats[row.key] <= ALPHA and hangs[row.key] is not False
    ]
    return min(fit)[1] if fit else None


def _alike(
    rows: Sequence[Way],
    ranks: Tensor,
    best: str,
    hangs: Mapping[str, bool | None],
    chance: torch.Generator,
) -> dict[str, float]:
    """The p of differing from the best, of each other method that hangs on what was learned."""
    at = next(i for i, row in enumerate(rows) if row.key == best)
    others = [
        i
        for i, row in enumerate(rows)
        if row.kind == "method" and i != at and hangs[row.key] is not False
    ]
    p = holm([differs(ranks[i], ranks[at], chance) for i in others])
    return {rows[i].key: one for i, one in zip(others, p, strict=True)}


def _verdict(
    measure: Measure, rows: Sequence[Way], values: Tensor, means: Tensor, chance: torch.Generator
) -> Verdict:
    better = values if measure.metric.higher_is_better else -values
    index = {row.key: i for i, row in enumerate(rows)}
    pairs = [(index[row.of], i) for i, row in enumerate(rows) if row.kind == "control"]
    apart = [better[control] - better[own] for own, control in pairs]
    plain = [i for i, row in enumerate(rows) if row.kind != "control"]
    own = better.nanmean(1)
    first = max(plain, key=lambda i: -math.inf if own[i].isnan() else float(own[i]))
    return Verdict(
        ranks=measure.ranks,
        tau=kendall(own[plain].tolist(), (-means[plain]).tolist()),
        blurred=sum(float(one.nanmean()) > 0 for one in apart),
        methods=len(pairs),
        p_blurred=exceeds(torch.stack(apart).nanmean(0), chance) if apart else 1.0,
        best=rows[first].key,
    )


def _contradictions(
    rows: Sequence[Way], counting: Sequence[Measure], values: Mapping[str, Tensor]
) -> list[tuple[str, str, float]]:
    """Metrics that order methods and baselines the other way round, the worst pair first."""
    plain = [i for i, row in enumerate(rows) if row.kind != "control"]
    orders = {
        one.name: (
            values[one.name][plain].nanmean(1) * (1 if one.metric.higher_is_better else -1)
        ).tolist()
        for one in counting
    }
    pairs = [(a, b, kendall(orders[a], orders[b])) for a, b in combinations(orders, 2)]
    return sorted((pair for pair in pairs if pair[2] < 0), key=lambda pair: pair[2])
