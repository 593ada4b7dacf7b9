"""What may be concluded from numbers of the same pictures: ranks, bootstrap, paired tests, Holm.

Pure functions of tensors ``(rows, pictures)``, a row being a way to explain. Knows no metric.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gradcam_hooks.auditing.statistics import signs
from gradcam_hooks.metrics.likeness import mean_ranks

__all__ = ["bootstrap", "differs", "exceeds", "holm", "kendall", "ranked"]

_EXACT = 12
"""Differences up to which every way to flip their signs is tried."""


def ranked(values: Tensor, *, higher: bool) -> Tensor:
    """The rank of each row on each picture, 1 for the best; equal values share their mean rank.

    Args:
        values: ``(rows, pictures)``; NaN, where a row has no value, is the worst.
        higher: whether higher values are better.

    Returns:
        ``(rows, pictures)``; NaN on pictures on which no row has a value.

    >>> ranked(torch.tensor([[0.9], [0.5], [0.9], [torch.nan]]), higher=True)[:, 0].tolist()
    [1.5, 3.0, 1.5, 4.0]
    """
    plain = values.double()
    unknown = plain.isnan()
    signed = (-plain if higher else plain).masked_fill(unknown, torch.inf)
    ranks: Tensor = mean_ranks(signed.T.contiguous()).T + 1
    return ranks.masked_fill(unknown.all(0, keepdim=True), torch.nan)


def bootstrap(
    values: Tensor, generator: torch.Generator, *, rounds: int = 2000, level: float = 0.95
) -> tuple[Tensor, Tensor]:
    """The interval of each row's mean over pictures, by drawing pictures with replacement.

    All rows are asked on the same pictures drawn. Percentiles of the means (Efron 1979).

    Args:
        values: ``(rows, pictures)``; NaN does not count.
        generator: draws the pictures.
        rounds: how often so many pictures are drawn.
        level: how much of the means the interval holds.

    Returns:
        The lower and the upper end, ``(rows,)`` each; NaN for fewer than two pictures.

    >>> low, high = bootstrap(torch.tensor([[1.0, 1.0, 1.0]]), torch.Generator())
    >>> low.tolist(), high.tolist()
    ([1.0], [1.0])
    """
    rows, count = values.shape
    if count < 2:
        nothing = torch.full((rows,), torch.nan, dtype=torch.float64)
        return nothing, nothing.clone()
    drawn = torch.randint(count, (rounds, count), generator=generator, device=generator.device)
    drawn = drawn.to(values.device)
    means = torch.stack([row[drawn].nanmean(1) for row in values.double()])
    tail = (1 - level) / 2
    return means.nanquantile(tail, 1), means.nanquantile(1 - tail, 1)


def exceeds(differences: Tensor, generator: torch.Generator) -> float:
    """The p of a mean above 0, where each difference could as well have had the other sign.

    Exact for up to 12 differences, of all ways to flip the signs; of more by drawing the flips.

    Args:
        differences: one for each picture, ``(pictures,)``; NaN does not count.
        generator: draws the flips.

    Returns:
        1 where there is nothing to compare.

    >>> exceeds(torch.tensor([1.0, 2.0, 3.0]), torch.Generator())
    0.125
    """
    values = differences[~differences.isnan()].double().cpu()
    count = len(values)
    if not count or not bool((values != 0).any()):
        return 1.0
    if count > _EXACT:
        return signs(values, generator)
    bits = torch.arange(2**count)[:, None] >> torch.arange(count) & 1
    sums = (1.0 - 2.0 * bits.double()) @ values
    slack = 1e-9 * float(values.abs().sum())
    return float((sums >= float(values.sum()) - slack).double().mean())


def differs(one: Tensor, other: Tensor, generator: torch.Generator) -> float:
    """The p of two rows being alike on the same pictures, ``(pictures,)`` each; two-sided.

    >>> differs(torch.tensor([1.0, 2.0, 3.0]), torch.zeros(3), torch.Generator())
    0.25
    """
    apart = one - other
    return min(1.0, 2 * min(exceeds(apart, generator), exceeds(-apart, generator)))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p of each of several tests: the family-wise error that it needs.

    >>> [round(q, 3) for q in holm([0.01, 0.04, 0.03, 0.5])]
    [0.04, 0.09, 0.09, 0.5]
    """
    adjusted, most = [1.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        most = max(most, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = most
    return adjusted


def kendall(one: Sequence[float], other: Sequence[float]) -> float:
    """Kendall's tau-b of two orders of the same things: 1 the same, -1 turned round.

    Things without a value in either do not count; NaN where an order has one value for all.

    >>> kendall([1, 2, 3], [1, 3, 2])
    0.3333333333333333
    """
    known = [
        (float(a), float(b))
        for a, b in zip(one, other, strict=True)
        if not (math.isnan(a) or math.isnan(b))
    ]
    if len(known) < 2:
        return math.nan
    columns = torch.tensor(known, dtype=torch.float64).T
    first, second = (torch.sign(row[:, None] - row[None, :]) for row in columns)
    whole = math.sqrt(float(first.abs().sum()) * float(second.abs().sum()))
    return float((first * second).sum()) / whole if whole else math.nan
