"""SESS: Grad-CAM of windows of the enlarged image, each put back where it was cut out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from types import EllipsisType

import torch
from torch import Tensor

from gradcam_hooks.checks import check_count, check_flag, check_one_of, check_range
from gradcam_hooks.errors import LayerError
from gradcam_hooks.maps import enlarge, minmax, resize
from gradcam_hooks.methods.gradient import gradcam
from gradcam_hooks.methods.registry import method
from gradcam_hooks.network.outputs import find_logits, flat_logits
from gradcam_hooks.network.tap import Way
from gradcam_hooks.runs.masks import blurred
from gradcam_hooks.runs.run import Run

__all__ = ["sess"]

_GROWTH = 2 / 7
"""By which share of the image each scale is larger than the one before: 224, 288, 352, ..."""

_CELLS, _WIDTH = 11, 5.0
"""The blur of the authors' code."""


@method(
    title="SESS",
    paper="Tursun et al. 2022, arXiv:2207.01769",
    cost="122 (F + B) for pictures",
    quick={"scales": 4},
    elsewhere=(
        "grad-cam's windows are square, as long as the image's shorter side, and it cuts them "
        "out of more places of an image that is not square; of a square one its map is this one."
    ),
)
def sess(
    run: Run,
    *,
    scales: int = 12,
    prefilter: float = 0.0,
    pool: str = "mean",
    smooth: bool = True,
    probability: bool | None = None,
) -> list[Tensor]:
    """SESS: the Grad-CAM maps of windows that slide over the enlarged image, averaged.

    ``blur(sum_w p_w M_w / number of w with p_w M_w > 0)``, position by position over the windows
    of all scales: ``M_w`` is the window's Grad-CAM map, min-max scaled, at its place in the image,
    and ``p_w`` the class's probability in the window as a share of the largest.

    Args:
        run: the pass at the image itself.
        scales: how many sizes; the first is the image's own, and each is 2/7 of that larger.
        prefilter: which share of the windows, those of the lowest probability, is left out.
        pool: ``"mean"``, or ``"max"`` for the largest value of any window.
        smooth: blur the map by a Gaussian of 11 pixels (sigma 5).
        probability: take the class's softmax probability for ``p_w``; by default where the target
            is a class. If not, its score, where that is positive.

    Returns:
        For each layer the map ``(batch, [targets,] *size)`` at the input's size, nowhere negative.

    Tursun et al. 2022 (arXiv:2207.01769), with the steps of the authors' code. Windows are as large
    as the image, so that the network sees what it is made for; they lie side by side, and the last
    of a row ends where the image does. Deviation: the authors' are 224 pixels, whatever the image.

    Raises:
        LayerError: the layer sees a part of the image only.
    """
    check_count(scales, "scales")
    check_range(prefilter, "prefilter", 0, 1, ends="[)")
    check_one_of(pool, "pool", ("mean", "max"))
    check_flag(smooth, "smooth")
    if probability is None:
        probability = run.asks_classes
    check_flag(probability, "probability")
    if run.place is not None and not run.place.whole:
        raise LayerError(
            "SESS slides a window over all of the image, and the layer named sees a part of it "
            "only. Take 'gradcam'."
        )
    slide = _Slide(run, probability, tuple(_windows(run.size, scales)))
    kept = None if prefilter == 0 else slide.kept(prefilter)
    fused = slide.fused(pool, kept)
    if any(bool((one.peak == 0).any()) for one in fused):  # no window speaks for the target
        unweighted = slide.fused(pool, kept, weighted=False)
        fused = [a.or_where_blank(b) for a, b in zip(fused, unweighted, strict=True)]
    return [one.result(smooth) for one in fused]


@dataclass(frozen=True)
class _Window:
    """A part as large as the image itself of the image enlarged to ``size``."""

    size: tuple[int, ...]
    at: tuple[EllipsisType | slice, ...]


def _windows(size: tuple[int, ...], scales: int) -> Iterator[_Window]:
    """Side by side at each scale; the last of a row ends where the enlarged image does."""
    for scale in range(scales):
        enlarged = tuple(pixels + round(pixels * _GROWTH) * scale for pixels in size)
        starts = []
        for pixels, length in zip(size, enlarged, strict=True):
            many = math.ceil(length / pixels)
            starts.append([min(number * pixels, length - pixels) for number in range(many)])
        for at in product(*starts):
            parts = zip(at, size, strict=True)
            yield _Window(enlarged, (..., *(slice(one, one + pixels) for one, pixels in parts)))


@dataclass(frozen=True)
class _Slide:
    """The network's look at each of the windows."""

    run: Run
    probability: bool
    windows: Sequence[_Window]

    def looks(self, way: Way, chosen: Sequence[bool]) -> Iterator[tuple[int, Run]]:
        """The number of each chosen window and a run at it."""
        image = enlarged = self.run.image
        for number, window in enumerate(self.windows):
            if not chosen[number]:
                continue
            if tuple(enlarged.shape[2:]) != window.size:
                flat = resize(image.flatten(0, 1), window.size)
                enlarged = flat.reshape(*image.shape[:2], *window.size)
            yield number, self.run.look_again(enlarged[window.at], way)

    def kept(self, prefilter: float) -> Tensor:
        """Which windows are not left out, bool ``(windows, batch[, targets])``."""
        every = [True] * len(self.windows)
        scores = torch.stack([self.score(at) for _, at in self.looks("forward", every)])
        lowest = scores.argsort(0)[: int(len(scores) * prefilter)]
        return torch.ones_like(scores, dtype=torch.bool).scatter(0, lowest, value=False)

    def score(self, at: Run) -> Tensor:
        """What a window weighs, ``(batch[, targets])``, nowhere negative."""
        if not self.probability:
            return at.scores.detach().relu()
        index = self.run.selected.index
        assert index is not None  # where probabilities are asked for, classes are
        chances = flat_logits(find_logits(at.chosen)).detach().softmax(1)
        return chances.gather(1, index.reshape(len(index), -1)).reshape(index.shape)

    def fused(self, pool: str, kept: Tensor | None, *, weighted: bool = True) -> list[_Fused]:
        """Each layer's maps of all windows, brought together."""
        run, every = self.run, [True] * len(self.windows)
        chosen = every if kept is None else kept.flatten(1).any(1).tolist()
        fused = [_Fused.none(run, pool) for _ in run.layers]
        for number, at in self.looks(run.passed.way, chosen):
            scores = self.score(at)
            weights = scores if weighted else torch.ones_like(scores)
            if kept is not None:
                weights = weights * kept[number]
            raws = at.joined(
                [
                    [gradcam(a.activation(), g) for a, g in zip(at.layers, found, strict=True)]
                    for found in (at.gradients(column) for column in at.columns())
                ]
            )
            for one, raw in zip(fused, raws, strict=True):
                one.add(raw, weights, self.windows[number])
            run.step(number + 1, len(self.windows))
        run.step(len(self.windows), len(self.windows))
        return fused


@dataclass
class _Fused:
    """One layer's maps of windows, brought together one by one.

    Attributes:
        total: their sum, or the largest, ``(maps, *size)``.
        count: how many were positive, of the same shape.
        peak: the largest weight, ``(maps,)``.
        lead: the batch and the targets.
        pool: ``"mean"`` or ``"max"``.
    """

    total: Tensor
    count: Tensor
    peak: Tensor
    lead: tuple[int, ...]
    pool: str

    @classmethod
    def none(cls, run: Run, pool: str) -> _Fused:
        lead = tuple(run.scores.shape)
        exact = torch.promote_types(run.image.dtype, torch.float32)
        total = run.image.new_zeros((math.prod(lead), *run.size), dtype=exact)
        return cls(total, torch.zeros_like(total), total.new_zeros(len(total)), lead, pool)

    def add(self, raws: Tensor, weights: Tensor, window: _Window) -> None:
        """A window's raw maps ``(*lead, *space)`` by its ``weights (*lead)``."""
        size, rank = self.total.shape[1:], self.total.ndim - 1
        own = weights.reshape(-1).to(self.total)
        flat = raws.reshape(-1, *raws.shape[-rank:]).relu()
        map_ = minmax(enlarge(flat, size), rank).to(self.total)
        whole = map_.new_zeros((len(map_), *window.size))
        whole[window.at] = map_ * own.view(-1, *[1] * rank)
        placed = resize(whole, size)
        self.peak = torch.maximum(self.peak, own)
        self.total = (
            torch.maximum(self.total, placed) if self.pool == "max" else self.total + placed
        )
        self.count += placed > 0

    def or_where_blank(self, other: _Fused) -> _Fused:
        """The other's where no window of this one weighs anything."""
        blank = (self.peak == 0).view(-1, *[1] * (self.total.ndim - 1))
        total = torch.where(blank, other.total, self.total)
        count = torch.where(blank, other.count, self.count)
        peak = torch.where(self.peak == 0, other.peak, self.peak)
        return _Fused(total, count, peak, self.lead, self.pool)

    def result(self, smooth: bool) -> Tensor:
        """The map ``(*lead, *size)``."""
        rank = self.total.ndim - 1
        found = self.total if self.pool == "max" else self.total / self.count.clamp_min(1)
        found = found / self.peak.view(-1, *[1] * rank).clamp_min(torch.finfo(found.dtype).tiny)
        if smooth:
            found = blurred(found[:, None], _CELLS, _WIDTH)[:, 0]
        return found.reshape(*self.lead, *found.shape[1:])
