"""How alike two maps are: correlation of values, of ranks, and structural similarity.

Knows tensors alone.
"""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor

from gradcam_hooks.checks import check_one_of
from gradcam_hooks.errors import InputError
from gradcam_hooks.metrics.cases import check_maps
from gradcam_hooks.runs.masks import filtered

__all__ = ["LIKENESS", "alike", "mean_ranks", "pairs", "pearson", "spearman", "ssim"]

LIKENESS = ("spearman", "pearson", "ssim")


def alike(one: Tensor, other: Tensor, how: str) -> Tensor:
    """How alike maps ``(n, *space)`` are, pair by pair, ``(n,)``; 1 where they are the same.

    Raises:
        OptionError: no such way.
    """
    check_one_of(how, "likeness", LIKENESS)
    if how == "ssim":
        return ssim(one, other)
    of = spearman if how == "spearman" else pearson
    return of(one.flatten(1), other.flatten(1))


def pairs(maps: Tensor, others: Tensor, names: tuple[str, str]) -> tuple[Tensor, Tensor]:
    """Two sets of maps, checked.

    Raises:
        InputError: they are no maps, or not of one shape.
    """
    one, other = check_maps(maps, names[0]), check_maps(others, names[1])
    if one.shape != other.shape:
        raise InputError(
            f"{names[0]}= and {names[1]}= are of one shape, not {tuple(one.shape)} and "
            f"{tuple(other.shape)}."
        )
    return one, other.to(one)


def pearson(one: Tensor, other: Tensor) -> Tensor:
    """The correlation of each row of two tensors ``(n, values)``; NaN where a row is constant.

    >>> pearson(torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[1.0, 3.0, 5.0]]))
    tensor([1.])
    """
    apart = [values - values.mean(1, keepdim=True) for values in (one, other)]
    # Each by its own largest value first: squares of small numbers would vanish.
    apart = [values / values.abs().amax(1, keepdim=True) for values in apart]
    sizes = [values.norm(dim=1) for values in apart]
    found: Tensor = (apart[0] * apart[1]).sum(1) / (sizes[0] * sizes[1])
    constant = [values.amax(1) == values.amin(1) for values in (one, other)]
    return found.clamp(-1, 1).masked_fill(constant[0] | constant[1], torch.nan)


def spearman(one: Tensor, other: Tensor) -> Tensor:
    """The correlation of ranks, equal values sharing theirs; NaN where a row is constant.

    >>> spearman(torch.tensor([[0.0, 1.0, 9.0]]), torch.tensor([[1.0, 3.0, 4.0]]))
    tensor([1.])
    """
    return pearson(mean_ranks(one), mean_ranks(other))


def mean_ranks(values: Tensor) -> Tensor:
    """The rank of each value in its row ``(n, values)``, from 0, equal values at their mean rank.

    >>> mean_ranks(torch.tensor([[5.0, 1.0, 5.0]]))
    tensor([[1.5000, 0.0000, 1.5000]])
    """
    ordered = values.sort(1).values
    below = torch.searchsorted(ordered, values.contiguous())
    above = torch.searchsorted(ordered, values.contiguous(), right=True)
    return ((below + above - 1) / 2).to(values)


def ssim(one: Tensor, other: Tensor, *, window: int = 7) -> Tensor:
    """Structural similarity of maps ``(n, *space)``, each pair scaled by its own range together.

    Means, variances and covariance in a window of 7 positions along each axis (fewer where the
    map is smaller), unbiased, averaged where the window lies inside; constants 0.01 and 0.03
    (Wang et al. 2004, doi:10.1109/TIP.2003.819861, with the window that scikit-image has).

    >>> maps = torch.arange(64.0).view(1, 8, 8)
    >>> ssim(maps, maps)
    tensor([1.])
    """
    both = torch.stack([one.flatten(1), other.flatten(1)])
    low, high = both.amin((0, 2)), both.amax((0, 2))
    scale = torch.where(high > low, high - low, 1).view(-1, *[1] * (one.ndim - 1))
    low = low.view(scale.shape)
    one, other = (one - low) / scale, (other - low) / scale
    side = min(window, *one.shape[1:])
    side -= 1 - side % 2
    count = side ** (one.ndim - 1)

    def mean(values: Tensor) -> Tensor:
        kernel = values.new_full((side,), 1 / side)
        axes = range(1, values.ndim)
        whole = reduce(lambda now, axis: filtered(now, kernel, axis, "constant"), axes, values)
        for axis in axes:
            whole = whole.narrow(axis, side // 2, whole.shape[axis] - side + 1)
        return whole

    means = mean(one), mean(other)
    unbiased = count / max(count - 1, 1)
    spread = (mean(one.square()) - means[0].square()) * unbiased
    spread_other = (mean(other.square()) - means[1].square()) * unbiased
    together = (mean(one * other) - means[0] * means[1]) * unbiased
    first, second = 0.01**2, 0.03**2
    found: Tensor = (2 * means[0] * means[1] + first) * (2 * together + second)
    found /= (means[0].square() + means[1].square() + first) * (spread + spread_other + second)
    return found.flatten(1).mean(1)
