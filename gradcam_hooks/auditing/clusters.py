"""Groups of pictures: spectral clustering on the graph of nearest neighbours.

How many groups there are is told by the data, in the gap of the graph Laplacian's eigenvalues,
and a group counts where it comes again when some of the pictures are left out. Pure functions of
points ``(pictures, numbers)``; float64, and the same for the same generator.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "MOST",
    "apart",
    "count_of",
    "graph",
    "grouped",
    "groups",
    "leaving",
    "merged",
    "returning",
    "spectrum",
]

NEIGHBOURS = 7
"""Of each picture in the graph."""

LARGEST = 10
"""Groups at most."""

MOST = 1500
"""Pictures clustered exactly; of more, so many are drawn, and the others join their nearest."""

APART = 1.5
"""Standard deviations of a gap that parts two groups."""

_NOISE = 0.01
"""Eigenvalues below this are as good as 0, and their ratio tells nothing."""

_TURNS, _STARTS = 50, 4
_AGAIN, _KEPT, _QUICK = 3, 0.8, 600


def graph(points: Tensor, neighbours: int = NEIGHBOURS) -> Tensor:
    """The graph's weights, ``(n, n)``: 1 between mutual nearest neighbours, 1/2 one-sided.

    >>> graph(torch.tensor([[0.0], [1.0], [9.0]]), 1)
    tensor([[0.0000, 1.0000, 0.0000],
            [1.0000, 0.0000, 0.5000],
            [0.0000, 0.5000, 0.0000]], dtype=torch.float64)
    """
    count = len(points)
    distance = torch.cdist(points.double(), points.double())
    distance.fill_diagonal_(torch.inf)
    near = distance.topk(min(neighbours, count - 1), largest=False).indices
    one_way = torch.zeros(count, count, dtype=torch.float64).scatter_(1, near, 1.0)
    return (one_way + one_way.T) / 2


def spectrum(weights: Tensor, most: int = LARGEST) -> tuple[Tensor, Tensor]:
    """The least eigenvalues of the normalised Laplacian, and their vectors.

    Args:
        weights: of the graph, ``(n, n)``.
        most: how many groups may be found; one eigenvalue more is told.

    Returns:
        ``(k,)``, the least first, and ``(n, k)``.
    """
    root = weights.sum(1).clamp_min(1e-12).rsqrt()
    laplacian = torch.eye(len(weights), dtype=weights.dtype) - root[:, None] * weights * root
    values, vectors = torch.linalg.eigh(laplacian)
    k = min(most + 1, len(weights))
    return values[:k].clamp_min(0), vectors[:, :k]


def count_of(values: Tensor) -> int:
    """How many groups: as many as eigenvalues lie below the widest gap, the gap being a ratio.

    >>> count_of(torch.tensor([0.0, 0.01, 0.3, 0.35, 0.4]))
    2
    """
    if len(values) < 3:
        return 1
    raised = values + _NOISE
    return int((raised[1:] / raised[:-1]).argmax()) + 1


def groups(points: Tensor, generator: torch.Generator) -> Tensor:
    """The group of each point, numbers from 0, ``(n,)``; how many, the eigenvalues tell.

    Args:
        points: ``(n, numbers)``, ``MOST`` at most.
        generator: draws the starts.
    """
    if len(points) < 3:
        return torch.zeros(len(points), dtype=torch.long)
    values, vectors = spectrum(graph(points))
    k = count_of(values)
    return _means(vectors[:, :k], k, generator)


def grouped(points: Tensor, generator: torch.Generator) -> tuple[Tensor, list[float]]:
    """The group of each of any number of points, and how much of each group's edges leave it.

    Groups that are not apart are one (`apart`).
    Above ``MOST`` points so many are drawn and grouped; each of the others is in the group that
    most of its nearest drawn ones are in.
    """
    drawn = torch.randperm(len(points), generator=generator)[:MOST].sort().values
    marks = points[drawn]
    own = merged(marks, groups(marks, generator))
    weights = graph(marks) if len(marks) > 1 else torch.zeros(1, 1, dtype=torch.float64)
    leaves = [leaving(weights, own == group) for group in range(int(own.max()) + 1)]
    if len(drawn) == len(points):
        return own, leaves
    every = torch.empty(len(points), dtype=torch.long)
    votes = torch.nn.functional.one_hot(own).float()
    for start in range(0, len(points), 4096):
        part = points[start : start + 4096].float()
        near = torch.cdist(part, marks.float()).topk(NEIGHBOURS, largest=False).indices
        every[start : start + 4096] = votes[near].sum(1).argmax(1)
    every[drawn] = own
    return every, leaves


def returning(points: Tensor, own: Tensor, generator: torch.Generator) -> list[float]:
    """How far each group comes again when a fifth of the points is left out.

    The mean Jaccard index, over a few turns, with the group found there that is most like it.

    Args:
        points: ``(n, numbers)``.
        own: the group of each, ``(n,)``.
        generator: draws what is left out; of very many points so many are taken as are grouped
            quickly.
    """
    count = int(own.max()) + 1
    sums = [0.0] * count
    for _ in range(_AGAIN):
        most = min(int(_KEPT * len(points)), _QUICK)
        some = torch.randperm(len(points), generator=generator)[:most].sort().values
        found, _ = grouped(points[some], generator)
        for group in range(count):
            here = own[some] == group
            like = [found == other for other in range(int(found.max()) + 1)]
            sums[group] += max(
                float((here & one).sum()) / max(1, int((here | one).sum())) for one in like
            )
    return [one / _AGAIN for one in sums]


def apart(group: Tensor, rest: Tensor) -> float:
    """The gap between two groups along the line between their means, in standard deviations.

    It reaches from the 5 % of the rest that are nearest the group to the 10 % of the group that
    are nearest the rest, and is measured by the wider of the two. A cloud cut in two has none to
    speak of (0.5 where it is even, less where it is denser in the middle), for its halves touch.
    Each point is projected on the line that the others make, so that few points in many numbers
    do not seem apart by chance.

    >>> apart(torch.tensor([[8.0], [9.0], [10.0]]), torch.tensor([[0.0], [1.0], [2.0]]))
    6.300000190734863
    >>> one = torch.arange(100.0)[:, None]
    >>> round(apart(one[50:], one[:50]), 1)
    0.6
    """
    if len(group) < 2 or len(rest) < 2:
        return torch.inf
    group, rest = group.float(), rest.float()
    origin = (group.mean(0) + rest.mean(0)) / 2
    own = _projected(group, rest.mean(0), origin)
    other = -_projected(rest, group.mean(0), origin)
    widest = max(float(own.std()), float(other.std()), 1e-9)
    return float(own.quantile(0.1) - other.quantile(0.95)) / widest


def _projected(points: Tensor, other: Tensor, origin: Tensor) -> Tensor:
    """How far each point lies from the origin, away from the other mean; its own share left out."""
    means = (points.sum(0) - points) / (len(points) - 1)
    lines = torch.nn.functional.normalize(means - other, dim=1)
    found: Tensor = ((points - origin) * lines).sum(1)
    return found


def merged(points: Tensor, own: Tensor) -> Tensor:
    """The groups, of which those that are not apart, seen from either, became one."""
    own = own.clone()
    while (count := int(own.max()) + 1) > 1:
        pairs = [(i, j) for i in range(count) for j in range(i)]
        sides = [(points[own == i], points[own == j]) for i, j in pairs]
        gaps = [max(apart(one, other), apart(other, one)) for one, other in sides]
        least = min(range(len(pairs)), key=gaps.__getitem__)
        if gaps[least] >= APART:
            break
        i, j = pairs[least]
        own[own == i] = j
        own[own > i] -= 1
    return own


def _means(vectors: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """K-means of the rows, scaled to the length 1, from several starts far apart."""
    rows = torch.nn.functional.normalize(vectors, dim=1)
    best, least = torch.zeros(len(rows), dtype=torch.long), torch.inf
    for _ in range(_STARTS if k > 1 else 0):
        centres = rows[torch.randint(len(rows), (1,), generator=generator)]
        while len(centres) < k:
            far = torch.cdist(rows, centres).amin(1).square() + 1e-12
            centres = torch.cat([centres, rows[torch.multinomial(far, 1, generator=generator)]])
        for _ in range(_TURNS):
            distance = torch.cdist(rows, centres)
            own = distance.argmin(1)
            sums = torch.zeros_like(centres).index_add_(0, own, rows)
            sizes = torch.bincount(own, minlength=k).clamp_min(1)[:, None]
            moved = sums / sizes
            if torch.equal(moved, centres):
                break
            centres = moved
        cost = float(distance.amin(1).square().sum())
        if cost < least - 1e-12:
            best, least = own, cost
    return best


def leaving(weights: Tensor, members: Tensor) -> float:
    """The conductance of a group: the share of its edges that leave it (of the smaller side's)."""
    inside = float(weights[members][:, members].sum())
    whole = float(weights[members].sum())
    rest = float(weights.sum()) - whole
    return (whole - inside) / max(1e-12, min(whole, rest))
