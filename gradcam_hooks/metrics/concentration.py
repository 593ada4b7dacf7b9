"""How concentrated a map is: sparseness and complexity. Knows maps alone, no network."""

from __future__ import annotations

import torch
from torch import Tensor

from gradcam_hooks.maps import minmax
from gradcam_hooks.metrics.cases import flattened
from gradcam_hooks.metrics.measured import Found
from gradcam_hooks.metrics.registry import metric

__all__ = ["complexity", "gini", "share_lit", "sparseness"]

_BLIND = "It sees no network: a wrong map that is as concentrated scores the same."


@metric(
    title="Sparseness",
    paper="Chalasani et al. 2020, arXiv:1810.06583 (the Gini index)",
    higher_is_better=True,
    claims="Few positions hold most of the map, so that it is easy to read.",
    assumes="A concise map is a better one, whatever the network used.",
    gamed="A single position, wherever it lies, has the highest value there is.",
    blind=_BLIND,
)
def sparseness(maps: Tensor, *, rank: int | None = None) -> Found:
    """Sparseness: the Gini index of the map's absolute values.

    ``sum_i (2 i - P - 1) a_i / (P sum_i a_i)``, a_i in rising order, i from 1 to P positions.

    Args:
        maps: ``(batch[, targets], *space)``.
        rank: how many axes space has; by default all but the first.

    Returns:
        0 for a constant map, ``1 - 1 / P`` for a single position; 0 for a map of zeros.

    >>> sparseness(torch.tensor([[0.0, 0.0, 0.0, 2.0], [1.0, 1.0, 1.0, 1.0]])).values
    tensor([0.7500, 0.0000], dtype=torch.float64)
    """
    flat, lead = flattened(maps, rank)
    return Found(gini(flat.flatten(1)).view(lead))


@metric(
    title="Complexity",
    paper="Poppi et al. 2021, arXiv:2104.10252",
    higher_is_better=False,
    claims="The map marks little, so that it is easy to read.",
    assumes="Of two maps that keep the score, the smaller one is better.",
    gamed="A single position has nearly none.",
    blind=_BLIND,
    elsewhere="Quantus' Complexity is the entropy of the map's shares (Bhatt et al. 2020).",
)
def complexity(maps: Tensor, *, rank: int | None = None) -> Found:
    """Complexity: the mean of the map, min-max scaled.

    ``|minmax(m)|_1 / P``.

    Args:
        maps: ``(batch[, targets], *space)``.
        rank: how many axes space has; by default all but the first.

    >>> complexity(torch.tensor([[0.0, 1.0, 2.0, 1.0]])).values
    tensor([0.5000], dtype=torch.float64)
    """
    flat, lead = flattened(maps, rank)
    return Found(share_lit(flat).view(lead))


def gini(values: Tensor) -> Tensor:
    """The Gini index of the sizes in each row ``(n, values)``; 0 for a row of zeros."""
    ordered = values.abs().double().sort(1).values
    count = ordered.shape[1]
    weights = 2 * torch.arange(1, count + 1, device=ordered.device).double() - count - 1
    total = ordered.sum(1)
    found = (ordered * weights).sum(1) / (count * total)
    return torch.where(total > 0, found, 0.0)


def share_lit(maps: Tensor) -> Tensor:
    """The mean of each map ``(n, *space)``, min-max scaled."""
    return minmax(maps, maps.ndim - 1).flatten(1).double().mean(1)
