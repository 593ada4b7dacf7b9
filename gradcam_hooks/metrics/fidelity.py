"""Faithfulness in numbers: infidelity, single deletions (IDSDS), F-Fidelity, and contrast.

The score is watched while parts are taken away, and compared with what the map says of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gradcam_hooks.checks import check_count, check_flag, check_one_of, check_range
from gradcam_hooks.metrics.cases import Case, chance, ranks
from gradcam_hooks.metrics.fills import Fill, filled
from gradcam_hooks.metrics.likeness import pearson, spearman
from gradcam_hooks.metrics.measured import Found
from gradcam_hooks.metrics.registry import metric
from gradcam_hooks.metrics.removal import area, scores_on_the_way
from gradcam_hooks.metrics.road import check_shares
from gradcam_hooks.metrics.scores import Score

__all__ = ["contrastive_faithfulness", "f_fidelity", "idsds", "infidelity"]

_TENTHS = tuple(tenths / 10 for tenths in range(1, 10))


@metric(
    title="Infidelity",
    paper="Yeh et al. 2019, arXiv:1901.09392",
    higher_is_better=False,
    claims="The map foretells by how much the score falls when something is taken away.",
    assumes="The map's values add up: what two positions do together is the sum of what each does.",
    gamed=(
        "Without normalize=True by scale: a map of zeros has the mean squared drop, less than a "
        "right map in another unit."
    ),
    elsewhere="captum asks for a map for each channel and scales nothing unless told to.",
    quick={"samples": 20},
)
def infidelity(
    score: Score,
    images: Tensor,
    maps: Tensor,
    *,
    kind: str = "square",
    side: float = 0.25,
    std: float = 0.2,
    fill: Fill = 0.0,
    samples: int = 100,
    normalize: bool = True,
    seed: int = 0,
) -> Found:
    """Infidelity: the mean squared error of the map's forecast of how far the score falls.

    ``mean over samples of (b I·m - (y(x) - y(x - I)))²``, b the best factor where normalised, 1
    else.

    Args:
        score: from images to a number each.
        images: ``(batch, channels, *space)``.
        maps: ``(batch[, targets], *space)``, signed: ``result.raw``.
        kind: what is taken away: a ``"square"`` is filled, and I·m is the map's sum in it, as for
            maps of what each position contributes; or ``"noise"`` is taken off, and I·m is
            ``sum I m`` over positions and channels, as for maps of slopes.
        side: of the square, as a share of each side of the image.
        std: of the noise, in the input's own units.
        fill: what stands in the square.
        samples: how many squares or draws; the squares are the same for all images.
        normalize: scale each map by the factor that fits best, since CAMs have no unit.
        seed: for squares and noise.

    Returns:
        The error for each sample, in the score's unit squared.

    >>> images = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]])
    >>> total = lambda x: x.sum((1, 2))
    >>> [float(infidelity(total, images, images[0] + more, normalize=False)) for more in (0, 1)]
    [0.0, 1.0]
    """
    check_one_of(kind, "kind", ("square", "noise"))
    check_count(samples, "samples")
    check_flag(normalize, "normalize")
    case = Case.of(score, images, maps)
    if kind == "square":
        told, change = _squares(case, side, filled(case.images, fill), samples, seed)
    else:
        told, change = _noises(case, std, samples, seed)
    if normalize:
        factor = (told * change).sum(1, keepdim=True) / told.square().sum(1, keepdim=True)
        told = told * factor.nan_to_num(0.0, 0.0, 0.0)
    return Found(case.shaped((told - change).square().mean(1)))


def _squares(
    case: Case, side: float, other: Tensor, samples: int, seed: int
) -> tuple[Tensor, Tensor]:
    """What the map says of each square, and how far the score falls, ``(rows, samples)`` both."""
    check_range(side, "side", 0, 1)
    space = case.maps.shape[1:]
    generator = torch.Generator().manual_seed(seed)
    along = []
    for cells in space:
        long = max(1, round(side * cells))
        start = torch.randint(cells - long + 1, (samples, 1), generator=generator)
        at = torch.arange(cells)
        along.append(((at >= start) & (at < start + long)).to(case.maps.device))

    def inside(numbers: Tensor) -> Tensor:
        found = torch.ones(len(numbers), *space, dtype=torch.bool, device=case.maps.device)
        for axis, one in enumerate(along):
            sizes = [1] * axis + [-1] + [1] * (len(space) - 1 - axis)
            found &= one[numbers].view(len(numbers), *sizes)
        return found

    def make(rows: Tensor, numbers: Tensor) -> Tensor:
        hole = inside(numbers)[:, None]
        return torch.where(hole, other[rows // (case.targets or 1)], case.pixels(rows))

    every = torch.arange(samples, device=case.maps.device)
    flat = case.maps.flatten(1)
    squares = [flat[:, inside(one)[0].flatten()].double().sum(1) for one in torch.split(every, 1)]
    told = torch.stack(squares, 1)
    return told, _falls(case, case.scores(samples, make))


def _noises(case: Case, std: float, samples: int, seed: int) -> tuple[Tensor, Tensor]:
    check_range(std, "std", 0)
    shape, each = case.images.shape[1:], case.targets or 1

    def drawn(row: int, number: int) -> Tensor:
        generator = chance(seed, row // each, number)
        noise = torch.randn(shape, generator=generator, dtype=case.images.dtype)
        return std * noise.to(case.images.device)

    def make(rows: Tensor, numbers: Tensor) -> Tensor:
        both = zip(rows.tolist(), numbers.tolist(), strict=True)
        return case.pixels(rows) - torch.stack([drawn(*one) for one in both])

    told = [
        torch.stack([(drawn(row, number).sum(0) * one).sum() for number in range(samples)])
        for row, one in enumerate(case.maps)
    ]
    return torch.stack(told).double(), _falls(case, case.scores(samples, make))


def _falls(case: Case, scores: Tensor) -> Tensor:
    return (case.once()[:, None] - scores).double()


@metric(
    title="IDSDS",
    paper="Hesse et al. 2024, arXiv:2407.11910",
    higher_is_better=True,
    claims="The map foretells which part of the image the score needs more than another.",
    assumes=(
        "The network was trained further on images with deleted patches, so that such images are "
        "of the kind it knows. On one that was not, this is a single deletion out of its domain."
    ),
    gamed="By no scale and no shift: only the order of the patches counts.",
    restless=(
        "Where several patches matter nothing, as on a plain background, a hair of noise on the "
        "map puts them in an order that the drops do not have; correlation='pearson' stays."
    ),
    elsewhere="Quantus' Faithfulness Correlation removes random subsets and trains nothing.",
)
def idsds(
    score: Score,
    images: Tensor,
    maps: Tensor,
    *,
    patches: int = 4,
    fill: Fill = 0.0,
    correlation: str = "spearman",
) -> Found:
    """IDSDS: the correlation of the map's sum in each patch with the drop when that patch goes.

    ``corr over patches of (sum of m in the patch, y(x) - y(x without the patch))``.

    Args:
        score: from images to a number each.
        images: ``(batch, channels, *space)``.
        maps: ``(batch[, targets], *space)``, signed: ``result.raw``.
        patches: how many along each axis of space; they differ by a position where it does not
            divide.
        fill: what stands in the patch's place; what the network was trained with.
        correlation: ``"spearman"``, of ranks, or ``"pearson"``, of values.

    Returns:
        A number in [-1, 1] for each sample; NaN where no patch matters more than another, 0 where
        the map says nothing of that.

    >>> images = torch.tensor([[[1.0, 4.0, 3.0, 2.0]]])
    >>> found = idsds(lambda x: x.sum((1, 2)), images, torch.tensor([[0.1, 0.9, 0.5, 0.3]]))
    >>> found.values
    tensor([1.], dtype=torch.float64)
    """
    check_one_of(correlation, "correlation", ("spearman", "pearson"))
    check_count(patches, "patches")
    case = Case.of(score, images, maps)
    labels, count = _patches(case.maps.shape[1:], patches)
    labels, other = labels.to(case.maps.device), filled(case.images, fill)

    def make(rows: Tensor, numbers: Tensor) -> Tensor:
        hole = labels == numbers.view(-1, *[1] * case.rank)
        return torch.where(hole[:, None], other[rows // (case.targets or 1)], case.pixels(rows))

    change = _falls(case, case.scores(count, make))
    told = torch.zeros(len(case.maps), count, dtype=torch.float64, device=change.device)
    told.index_add_(1, labels.flatten(), case.maps.flatten(1).double())
    found = (spearman if correlation == "spearman" else pearson)(told, change)
    dumb = (told.amax(1) == told.amin(1)) & (change.amax(1) > change.amin(1))
    return Found(
        case.shaped(found.masked_fill(dumb, 0.0)),
        {"map": case.shaped(told), "drop": case.shaped(change)},
    )


def _patches(space: Sequence[int], patches: int) -> tuple[Tensor, int]:
    """The number of each position's patch, in reading order, and how many there are."""
    labels, count = torch.zeros(tuple(space), dtype=torch.long), 1
    for axis, cells in enumerate(space):
        parts = min(patches, cells)
        at = torch.arange(cells) * parts // cells
        labels = labels * parts + at.view(-1, *[1] * (len(space) - 1 - axis))
        count *= parts
    return labels, count


@metric(
    title="F-Fidelity",
    paper="Zheng et al. 2024, arXiv:2410.02970",
    higher_is_better=True,
    claims="Removing a little of what the map marks lowers the score more than as much elsewhere.",
    assumes=(
        "The network was trained further on images without random positions, as many as are "
        "removed here at most (``most``), so that such images are of the kind it knows."
    ),
    gamed="Not by the size of what is removed, which is bounded and drawn at random.",
    quick={"samples": 5, "shares": (0.2, 0.5, 0.8)},
)
def f_fidelity(
    score: Score,
    images: Tensor,
    maps: Tensor,
    *,
    shares: Sequence[float] = _TENTHS,
    part: float = 0.5,
    most: float = 0.1,
    samples: int = 50,
    fill: Fill = 0.0,
    seed: int = 0,
) -> Found:
    """F-Fidelity: the drop without a random part of the map's top, less that without one elsewhere.

    ``mean over s of E[y(x) - y(x without T)] - E[y(x) - y(x without R)]``, T drawn from the top
    share s of positions and R from the rest, ``min(part |set|, most P)`` of P positions each.

    Args:
        score: from images to a number each.
        images: ``(batch, channels, *space)``.
        maps: ``(batch[, targets], *space)``; of another size they are resized.
        shares: s, of all positions.
        part: which part of a set is drawn.
        most: how many positions are drawn at most, as a share of all.
        samples: how many draws for each share.
        fill: what stands in their place; what the network was trained with.
        seed: for the draws.

    Returns:
        A number for each sample; the curves ``top`` and ``rest`` are the two drops.

    >>> images = torch.tensor([[[8.0, 0.0]]])
    >>> found = f_fidelity(
    ...     lambda x: x.sum((1, 2)), images, images[0], shares=[0.5], part=1, most=1, samples=2
    ... )
    >>> found.curve("top").tolist(), found.curve("rest").tolist(), found.values.tolist()
    ([8.0], [0.0], [8.0])
    """
    check_range(part, "part", 0, 1)
    check_range(most, "most", 0, 1)
    check_count(samples, "samples")
    case, points = Case.of(score, images, maps), check_shares(shares)
    order, other, cells = ranks(case.maps, seed=seed), filled(case.images, fill), case.cells
    tops = [min(max(round(share * cells), 1), cells - 1) for share in points]
    bound = max(1, round(most * cells))

    def make(rows: Tensor, numbers: Tensor) -> Tensor:
        holes = []
        for row, number in zip(rows.tolist(), numbers.tolist(), strict=True):
            side, share = number // samples % 2, number // (2 * samples)
            top = order[row].flatten() < tops[share]
            chosen = ~top if side else top
            count = max(1, min(round(part * int(chosen.sum())), bound))
            drawn = torch.rand(cells, generator=chance(seed, row, number)).to(top.device)
            holes.append(ranks(torch.where(chosen, drawn, -1.0)[None])[0] < count)
        hole = torch.stack(holes).view(-1, 1, *case.maps.shape[1:])
        return torch.where(hole, other[rows // (case.targets or 1)], case.pixels(rows))

    falls = _falls(case, case.scores(2 * samples * len(points), make))
    means = falls.view(-1, len(points), 2, samples).mean(3)
    curves = {"top": case.shaped(means[..., 0]), "rest": case.shaped(means[..., 1])}
    values = (means[..., 0] - means[..., 1]).mean(1)
    return Found(case.shaped(values), curves, torch.tensor(points))


@metric(
    title="Contrastive faithfulness",
    paper="the question of arXiv:2511.13081, by the measure below",
    higher_is_better=True,
    claims="The map of a difference of two classes marks what tells them apart.",
    assumes="What Insertion and Deletion assume of images in part.",
    gamed="As Deletion; a map of one class alone is rewarded where the other one is not there.",
    elsewhere="The paper's own protocol may differ: compare methods by it, not with tables.",
    quick={"steps": 16},
)
def contrastive_faithfulness(
    score: Score,
    foil: Score,
    images: Tensor,
    maps: Tensor,
    *,
    fill: Fill = "mean",
    steps: int = 32,
    seed: int = 0,
) -> Found:
    """Contrastive faithfulness: how much sooner two classes meet when the map's top goes first.

    ``mean over s of d(x without the lowest s) - d(x without the highest s)``, d the score less the
    foil's.

    Args:
        score: from images to the class's number.
        foil: the same of the class that it is told from.
        images: ``(batch, channels, *space)``.
        maps: of the difference, signed: ``result.raw`` for ``target=Difference(...)``.
        fill: what stands where something is taken away.
        steps: in how many equal steps all goes.
        seed: for the order of positions whose values are equal.

    Returns:
        A number for each sample, 0 for an order by chance; the curves ``most`` and ``least``.

    >>> images = torch.tensor([[[4.0, 4.0]]])
    >>> one, other = (lambda x: x[:, 0, 0]), (lambda x: x[:, 0, 1])
    >>> m = torch.tensor([[1.0, -1.0]])
    >>> float(contrastive_faithfulness(one, other, images, m, fill=0.0, steps=2))
    4.0
    """
    case, against = Case.of(score, images, maps), Case.of(foil, images, maps)
    curves = {}
    for name in ("most", "least"):
        both = [
            scores_on_the_way(one, fill, steps, seed, removes=True, least=name == "least")
            for one in (case, against)
        ]
        curves[name], at = both[0][0] - both[1][0], both[0][1]
    values = area(curves["least"], at) - area(curves["most"], at)
    return Found(
        case.shaped(values), {name: case.shaped(curve) for name, curve in curves.items()}, at
    )
