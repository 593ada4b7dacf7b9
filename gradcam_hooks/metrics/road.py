"""ROAD: positions removed by noisy linear imputation, the most or the least relevant first."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gradcam_hooks.checks import check_one_of, check_range
from gradcam_hooks.errors import OptionError
from gradcam_hooks.metrics.cases import Case, chance, ranks
from gradcam_hooks.metrics.imputing import imputed
from gradcam_hooks.metrics.measured import Found
from gradcam_hooks.metrics.registry import metric
from gradcam_hooks.metrics.scores import Score

__all__ = ["check_shares", "removed", "road"]

_TENTHS = tuple(tenths / 10 for tenths in range(1, 10))


@metric(
    title="ROAD",
    paper="Rong et al. 2022, arXiv:2202.00449",
    higher_is_better=True,
    claims=(
        "The score falls faster when the positions that the map marks are removed than when the "
        "others are."
    ),
    assumes="What is imputed tells nothing of what stood there, and looks like an image.",
    gamed=(
        "A blurred map removes regions of which less can be guessed from what is around: it is "
        "rewarded for the blur (Rong et al. 2023, arXiv:2304.13836, say so of ROAR and ROAD)."
    ),
    elsewhere=(
        "Quantus 0.6.0 scores only the first batch. grad-cam removes what lies above a percentile, "
        "so that tied positions go together, and draws noise that no seed of its own fixes."
    ),
    quick={"shares": (0.2, 0.5, 0.8)},
)
def road(
    score: Score,
    images: Tensor,
    maps: Tensor,
    *,
    order: str = "combined",
    shares: Sequence[float] = _TENTHS,
    noise: float = 0.01,
    seed: int = 0,
) -> Found:
    """ROAD: the score without the most relevant positions, and without the least relevant.

    ``mean over shares of (score without the least - score without the most) / 2``; of one order
    ``mean over shares of score``. What is removed becomes the weighted mean of its neighbours (1/6
    along the axes, 1/12 diagonal), and noise.

    Args:
        score: from images to a number each; the paper counts right answers.
        images: ``(batch, channels, *space)``.
        maps: ``(batch[, targets], *space)``; of another size they are resized.
        order: ``"combined"``; ``"most"``, the most relevant first, where lower is better; or
            ``"least"``.
        shares: of all positions, how many are removed.
        noise: the standard deviation of what is added, in the input's own units.
        seed: for the noise, and for the order of positions whose values are equal.

    Returns:
        The number for each sample, and the curves ``most`` and ``least``.

    >>> image = torch.tensor([[[8.0, 0.0, 0.0, 0.0]]])
    >>> peak = lambda x: x[:, 0, 0]
    >>> found = road(peak, image, image[0], shares=[0.25], noise=0)
    >>> found.curve("most").tolist(), found.curve("least").tolist(), found.values.tolist()
    ([0.0], [8.0], [4.0])
    """
    check_one_of(order, "order", ("combined", "most", "least"))
    check_range(noise, "noise", 0, ends="[)")
    case, points = Case.of(score, images, maps), check_shares(shares)
    curves = {
        one: removed(case, points, noise, seed, least=one == "least")
        for one in (("most", "least") if order == "combined" else (order,))
    }
    if order == "combined":
        values = (curves["least"] - curves["most"]).mean(1) / 2
    else:
        values = curves[order].mean(1)
    told = {one: case.shaped(curve) for one, curve in curves.items()}
    return Found(case.shaped(values), told, torch.tensor(points), order != "most")


def removed(case: Case, points: Sequence[float], noise: float, seed: int, *, least: bool) -> Tensor:
    """The scores without the least or the most relevant shares of positions, ``(rows, shares)``."""
    order = ranks(case.maps, seed=seed)
    if least:
        order = case.cells - 1 - order
    counts = torch.tensor([round(share * case.cells) for share in points], device=order.device)

    def make(rows: Tensor, numbers: Tensor) -> Tensor:
        unknown = order[rows] < counts[numbers].view(-1, *[1] * case.rank)
        holes = imputed(case.pixels(rows), ~unknown)
        if not noise:
            return holes
        drawn = [
            torch.randn(holes.shape[1:], generator=chance(seed, row, number), dtype=holes.dtype)
            for row, number in zip(rows.tolist(), numbers.tolist(), strict=True)
        ]
        return holes + noise * torch.stack(drawn).to(holes) * unknown[:, None]

    return case.scores(len(points), make)


def check_shares(shares: Sequence[float]) -> list[float]:
    """The shares as a list.

    Raises:
        OptionError: there is none, or one that is not between 0 and 1.
    """
    points = list(shares)
    if not points:
        raise OptionError("shares= needs one number at least, such as (0.5,).")
    for share in points:
        check_range(share, "shares", 0, 1, ends="()", what="made of numbers")
    return [float(share) for share in points]
