"""Tests of significance: exact where few, by permutation else; pure functions of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["above", "discoveries", "fisher", "interval", "one_way", "signs", "strata"]

ROUNDS = 9999
"""Permutations of a test; the least p is one in ten thousand."""


def interval(hits: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a share, of 95 % by default.

    >>> low, high = interval(47, 49)
    >>> round(low, 3), round(high, 3)
    (0.863, 0.989)
    """
    if not count:
        return 0.0, 1.0
    share, square = hits / count, z * z
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = math.sqrt(share * (1 - share) / count + square / (4 * count * count))
    half *= z / (1 + square / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def signs(differences: Tensor, generator: torch.Generator, rounds: int = ROUNDS) -> float:
    """The p of a mean above 0, where each difference could as well have had the other sign.

    >>> signs(torch.ones(20), torch.Generator().manual_seed(0), rounds=999)
    0.001
    """
    values = differences.double()
    if not len(values) or not bool((values != 0).any()):
        return 1.0
    flips = torch.randint(0, 2, (rounds, len(values)), generator=generator).double() * 2 - 1
    reached = int((flips @ values >= values.sum() - 1e-9).sum())
    return (reached + 1) / (rounds + 1)


def strata(
    values: Tensor, chosen: Tensor, groups: Tensor, generator: torch.Generator, rounds: int = ROUNDS
) -> tuple[float, float]:
    """How much higher the chosen values are than the others of their group, and the p of it.

    Groups that hold chosen values alone, or others alone, tell nothing and are left out. Each
    group counts by how many are chosen in it.

    Args:
        values: ``(n,)``.
        chosen: bool ``(n,)``.
        groups: ``(n,)`` of numbers; what is compared lies in one of them.
        generator: draws the permutations, within the groups.
        rounds: how many.

    Returns:
        The mean difference, and its p; NaN and 1 where nothing can be compared.

    >>> values = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    >>> chosen = torch.tensor([1, 1, 1, 0, 0, 0]).bool()
    >>> strata(values, chosen, torch.zeros(6), torch.Generator().manual_seed(0))[0]
    1.0
    """
    total, weight = 0.0, 0
    null = torch.zeros(rounds, dtype=torch.float64)
    for group in set(groups.tolist()):
        here = groups == group
        inside, own = values[here].double(), chosen[here]
        k, n = int(own.sum()), int(here.sum())
        if not 0 < k < n:
            continue
        total += k * float(inside[own].mean() - inside[~own].mean())
        weight += k
        order = torch.rand(rounds, n, generator=generator).argsort(1)[:, :k]
        sums = inside[order].sum(1)
        null += k * (sums / k - (inside.sum() - sums) / (n - k))
    if not weight:
        return math.nan, 1.0
    reached = int((null >= total - 1e-9).sum())
    return total / weight, (reached + 1) / (rounds + 1)


def above(
    values: Tensor, chosen: Tensor, groups: Tensor, generator: torch.Generator, rounds: int = ROUNDS
) -> tuple[float, float]:
    """How often a chosen value is above another of its group, a tie half, and the p of that.

    The area under the curve, of ranks: how far above does not count. All as for `strata`, of
    which it is a case.

    >>> values = torch.tensor([3.0, 2.0, 1.0, 2.0, 0.0])
    >>> chosen = torch.tensor([1, 1, 0, 0, 0]).bool()
    >>> above(values, chosen, torch.zeros(5), torch.Generator().manual_seed(0))[0] * 6
    5.5
    """
    wins, pairs = 0.0, 0
    ranks = torch.zeros(len(values), dtype=torch.float64)
    for group in set(groups[chosen].tolist()):
        here = groups == group
        inside = values[here]
        ahead = (inside[:, None] > inside).double() + 0.5 * (inside[:, None] == inside).double()
        ranks[here] = ahead.mean(1)
        own = chosen[here]
        wins += float(ahead[own][:, ~own].sum())
        pairs += int(own.sum()) * int((~own).sum())
    share = wins / pairs if pairs else math.nan
    return share, strata(ranks, chosen, groups, generator, rounds)[1]


def one_way(
    points: Tensor, chosen: Tensor, groups: Tensor, generator: torch.Generator, rounds: int = 999
) -> float:
    """The p of the chosen points lying in one direction from the middle of their group.

    As many of the same groups, drawn by chance, do so as far. Of a group of more than a thousand
    others a thousand are drawn.

    Args:
        points: ``(n, numbers)``.
        chosen: bool ``(n,)``.
        groups: ``(n,)`` of numbers; what is compared lies in one of them.
        generator: draws.
        rounds: how many permutations.

    >>> points = torch.cat([torch.eye(8)[:1].expand(4, 8), torch.eye(8)[1:]])
    >>> chosen = torch.arange(11) < 4
    >>> one_way(points, chosen, torch.zeros(11), torch.Generator().manual_seed(0)) < 0.02
    True
    """
    total = torch.zeros(points.shape[1], dtype=torch.float64)
    null = torch.zeros(rounds, points.shape[1], dtype=torch.float64)
    compared = False
    for group in set(groups[chosen].tolist()):
        own = (chosen & (groups == group)).nonzero()[:, 0]
        rest = (~chosen & (groups == group)).nonzero()[:, 0]
        rest = rest[torch.randperm(len(rest), generator=generator)[:1000]]
        if len(rest) < len(own):
            continue
        here = points[torch.cat([own, rest])].double()
        ways = torch.nn.functional.normalize(here - here.mean(0), dim=1)
        order = torch.rand(rounds, len(ways), generator=generator).argsort(1)[:, : len(own)]
        total += ways[: len(own)].sum(0)
        for column in order.T:
            null += ways[column]
        compared = True
    if not compared:
        return 1.0
    reached = int((null.square().sum(1) >= total.square().sum() - 1e-9).sum())
    return (reached + 1) / (rounds + 1)


def discoveries(p: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's adjusted p of each test: the false discovery rate it needs.

    >>> [round(q, 3) for q in discoveries([0.01, 0.04, 0.03, 0.5])]
    [0.04, 0.053, 0.053, 0.5]
    """
    count = len(p)
    order = sorted(range(count), key=lambda i: p[i], reverse=True)
    adjusted, least = [1.0] * count, 1.0
    for rank, i in zip(range(count, 0, -1), order, strict=True):
        least = min(least, p[i] * count / rank)
        adjusted[i] = least
    return adjusted


def fisher(p: Sequence[float]) -> float:
    """The p of several independent tests together (Fisher's method).

    The probability that a chi-square of twice as many degrees of freedom as tests exceeds
    ``-2 sum(log p)``, which has a closed form where the degrees are even.

    >>> round(fisher([0.05, 0.05]), 4)
    0.0175
    """
    half = -sum(math.log(max(one, 1e-300)) for one in p)
    return min(1.0, math.exp(-half) * sum(half**k / math.factorial(k) for k in range(len(p))))
