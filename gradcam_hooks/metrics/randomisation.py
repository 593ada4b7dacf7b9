"""Does a map hang on what was learned, and on the class? MPRT, sMPRT, eMPRT and random logit.

They compare maps of a network with maps of one whose weights were drawn anew, which `randomised`
and `cascade` make; or maps of one class with maps of another.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from gradcam_hooks.checks import check_count, check_one_of
from gradcam_hooks.errors import InputError
from gradcam_hooks.metrics.cases import check_maps, flattened
from gradcam_hooks.metrics.likeness import alike, pairs
from gradcam_hooks.metrics.measured import Found
from gradcam_hooks.metrics.registry import metric

__all__ = ["cascade", "emprt", "mprt", "random_logit", "randomised", "smprt"]

_BLIND = "It asks whether a map moves, not where it lies: a wrong map that moves is as good."
_RESTLESS = (
    "A hair of noise puts positions in order that were equal, as where a map is zero, and ranks "
    "move with it; likeness='pearson' stays."
)
_NOISE = "By noise: a map that is random each time is unlike itself."


@metric(
    title="MPRT",
    paper="Adebayo et al. 2018, arXiv:1810.03292",
    higher_is_better=False,
    claims="The map hangs on the weights: it is another where they are drawn anew.",
    assumes="Two maps that look alike are alike in what they say.",
    gamed=_NOISE,
    blind=_BLIND,
    restless=_RESTLESS,
    elsewhere=(
        "Quantus takes absolute values and normalises first. Its own authors (Hedström et al. "
        "2024) show that pairwise likeness is biased by noise and by the order of layers."
    ),
)
def mprt(
    maps: Tensor,
    randomised: Tensor | Sequence[Tensor],
    *,
    likeness: str = "spearman",
    rank: int | None = None,
) -> Found:
    """MPRT: how alike maps stay while layer after layer is drawn anew.

    ``mean over layers of corr(m, m_l)``, m_l the map when layers up to l are random.

    Args:
        maps: ``(batch[, targets], *space)``.
        randomised: for each step of `cascade` the maps, of the shape of ``maps``.
        likeness: ``"spearman"``, ``"pearson"`` or ``"ssim"``.
        rank: how many axes space has; by default all but the first of ``maps``.

    Returns:
        The mean for each sample, and the curve over ``layers``; a step at which either map is
        constant counts in no mean.

    >>> m = torch.tensor([[1.0, 2.0, 3.0]])
    >>> mprt(m, [m, -m]).curve("layers").tolist()
    [1.0, -1.0]
    """
    steps = _stacked(randomised)
    flat, lead = flattened(maps, rank)
    curves = []
    for step in steps:
        _, other = pairs(maps, step, ("maps", "randomised[...]"))
        curves.append(alike(flat, other.reshape(flat.shape).to(flat), likeness))
    curve = torch.stack(curves, -1).view(*lead, len(steps))
    return Found(curve.nanmean(-1), {"layers": curve}, torch.arange(1, len(steps) + 1))


@metric(
    title="sMPRT",
    paper="Hedström et al. 2024, arXiv:2405.02383",
    higher_is_better=False,
    claims="As MPRT, with the noise of the maps averaged out first.",
    assumes="As MPRT; and that noise on the image does not change what the map says.",
    gamed="Less than MPRT by noise; by a map that follows the weights in a trivial way.",
    blind=_BLIND,
    restless=_RESTLESS,
)
def smprt(
    maps: Tensor,
    randomised: Tensor | Sequence[Tensor],
    *,
    likeness: str = "spearman",
    rank: int | None = None,
) -> Found:
    """sMPRT: MPRT of maps that are each the mean over noisy versions of the image.

    Args:
        maps: ``(samples, batch[, targets], *space)``, of versions of the images with noise; 50 in
            the paper.
        randomised: for each step of `cascade` the same, of the shape of ``maps``.
        likeness: ``"spearman"``, ``"pearson"`` or ``"ssim"``.
        rank: how many axes space has; by default all but the first two of ``maps``.

    Returns:
        As `mprt`.

    >>> m = torch.tensor([[[1.0, 2.0, 3.0]], [[3.0, 4.0, 5.0]]])
    >>> round(float(smprt(m, [m])), 6)
    1.0
    """
    mean = check_maps(maps).mean(0)
    steps = [check_maps(step, "randomised[...]").mean(0) for step in _stacked(randomised)]
    plain = mprt(mean, steps, likeness=likeness, rank=rank)
    return Found(plain.values, plain.curves, plain.at)


@metric(
    title="eMPRT",
    paper="Hedström et al. 2024, arXiv:2405.02383",
    higher_is_better=True,
    claims="A map of a network that learned nothing is a more complex one.",
    assumes="What was learned is simpler than what chance does, and shows in the map's histogram.",
    gamed="By a map that is simple by itself on the trained network, such as few grey levels.",
    blind="It sees the histogram of the map alone: one laid elsewhere has the same.",
)
def emprt(maps: Tensor, randomised: Tensor, *, bins: int = 100, rank: int | None = None) -> Found:
    """eMPRT: the relative rise of the map's complexity when all weights are drawn anew.

    ``(H(m') - H(m)) / H(m)``, H the entropy of the map's histogram and m' the map of `randomised`.

    Args:
        maps: ``(batch[, targets], *space)``.
        randomised: the maps of the network with all of its weights drawn anew, of the same shape.
        bins: of each histogram, equal ones from the map's lowest value to its highest.
        rank: how many axes space has; by default all but the first.

    Returns:
        The rise for each sample; NaN where the map is constant, whose entropy is 0.

    >>> m = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    >>> emprt(m, torch.tensor([[0.0, 1.0, 2.0, 3.0]])).values
    tensor([1.], dtype=torch.float64)
    """
    check_count(bins, "bins", least=2)
    one, other = pairs(maps, randomised, ("maps", "randomised"))
    flat, lead = flattened(one, rank)
    before, after = (_entropy(each, bins) for each in (flat, other.reshape(flat.shape)))
    return Found(torch.where(before > 0, (after - before) / before, torch.nan).view(lead))


@metric(
    title="Random logit",
    paper="Sixt et al. 2020, arXiv:1912.09818",
    higher_is_better=False,
    claims="The map hangs on the class: another class has another map.",
    assumes="The two classes are not known by the same parts of the image.",
    gamed=_NOISE,
    blind=_BLIND,
)
def random_logit(
    maps: Tensor, others: Tensor, *, likeness: str = "ssim", rank: int | None = None
) -> Found:
    """Random logit: how alike the maps of two classes are.

    Args:
        maps: ``(batch[, targets], *space)``.
        others: the maps of another class each, drawn at random, of the same shape.
        likeness: ``"spearman"``, ``"pearson"`` or ``"ssim"``, structural similarity.
        rank: how many axes space has; by default all but the first.

    Returns:
        1 for each sample whose maps are the same; NaN where a map is constant, but for SSIM.

    >>> m = torch.tensor([[1.0, 2.0, 3.0]])
    >>> float(random_logit(m, -m, likeness="spearman"))
    -1.0
    """
    one, other = pairs(maps, others, ("maps", "others"))
    flat, lead = flattened(one, rank)
    return Found(alike(flat, other.reshape(flat.shape), likeness).view(lead))


def randomised(model: nn.Module, *, seed: int = 0) -> nn.Module:
    """A copy of the model with all weights drawn anew, each layer as its kind is initialised.

    Parameters of modules that cannot initialise themselves have their values shuffled. The model
    itself, and the global random numbers, stay as they are.

    >>> model = nn.Linear(3, 2)
    >>> bool((randomised(model).weight == model.weight).any())
    False
    """
    *_, (_, last) = cascade(model, seed=seed)
    return last


def cascade(
    model: nn.Module, *, order: str = "top_down", seed: int = 0
) -> Iterator[tuple[str, nn.Module]]:
    """The layer drawn anew last, and the model with it and all before it drawn anew; step by step.

    Every step is the same copy, changed further: explain it before the next one is asked for.

    Args:
        model: any module; it is not touched.
        order: ``"top_down"``, from the output, or ``"bottom_up"``; layers in the order in which
            the model names them.
        seed: for the weights.

    Raises:
        InputError: the model has no weights.

    >>> [name for name, _ in cascade(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)))]
    ['2', '0']
    """
    check_one_of(order, "order", ("top_down", "bottom_up"))
    changed = copy.deepcopy(model)
    layers = [
        (name, module)
        for name, module in changed.named_modules()
        if next(module.parameters(recurse=False), None) is not None
    ]
    if not layers:
        raise InputError(f"{type(model).__name__} has no weights that could be drawn anew.")
    for number, (name, module) in enumerate(layers[::-1] if order == "top_down" else layers):
        with _drawing(seed + number, module), torch.no_grad():
            _draw(module)
        yield name, changed


def _draw(module: nn.Module) -> None:
    reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
    if callable(reset):
        reset()
        return
    for parameter in module.parameters(recurse=False):
        order = torch.randperm(parameter.numel(), device=parameter.device)
        parameter.copy_(parameter.flatten()[order].view(parameter.shape))


@contextmanager
def _drawing(seed: int, module: nn.Module) -> Iterator[None]:
    """Global random numbers from this seed, and as they were behind the block."""
    devices = {one.device for one in module.parameters() if one.device.type == "cuda"}
    with torch.random.fork_rng(devices=sorted(devices, key=str)):
        torch.manual_seed(seed)
        yield


def _entropy(maps: Tensor, bins: int) -> Tensor:
    """The entropy of each map's histogram in nats, ``(n,)``."""
    flat = maps.flatten(1).double()
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    place = ((flat - low) / (high - low) * bins).nan_to_num(0.0).long().clamp(0, bins - 1)
    counts = torch.zeros(len(flat), bins, dtype=torch.float64, device=flat.device)
    counts.scatter_add_(1, place, torch.ones_like(flat))
    parts: Tensor = torch.special.entr(counts / flat.shape[1])
    return parts.sum(1)


def _stacked(randomised: Tensor | Sequence[Tensor]) -> list[Tensor]:
    steps = list(randomised)
    if not steps:
        raise InputError("randomised= are the maps of each step of cascade(model), one at least.")
    return steps
