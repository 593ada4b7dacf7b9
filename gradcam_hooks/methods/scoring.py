"""Score-CAM and its kin: each channel masks the input, and its weight is the score under its mask.

A channel without spread has no mask: it is left out. Masks are resized first and scaled to [0, 1]
after, as the Score-CAM authors' code does it; torchcam scales first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradcam_hooks.checks import check_count, check_one_of, check_range
from gradcam_hooks.errors import OptionError
from gradcam_hooks.maps import enlarge, spread
from gradcam_hooks.methods.registry import method
from gradcam_hooks.runs.masks import chances, masks_of, variant_scores
from gradcam_hooks.runs.run import NoPath, Run

__all__ = ["gscorecam", "iscam", "scorecam", "sscam"]

_SCORES = ("probability", "increase", "softmax")

_NOISE = (
    "The authors' code masks by the resized channel in its own units, unscaled, with noise of "
    "deviation (std / range)², range being the channel's largest value less its smallest, and "
    "weighs by the probability: noise='channel', score='probability'. torchcam's weights are "
    "softmaxed over the channels, constant ones among them."
)

_Vary = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Masks ``(n, *size)``, the numbers of their channels and of their samples, to other masks."""


@method(
    paper="Wang et al. 2020, arXiv:1910.01279, equation 5; weights as in the authors' code",
    cost="(K + 1) F",
    needs_gradients=False,
    quick={"channels": 64},
    elsewhere=(
        "Three definitions are in use (score=): the paper's increase of the score over that of a "
        "black image, its softmax over the channels, and the probability in the authors' code. "
        "grad-cam and torchcam take the softmax; grad-cam resizes masks with align_corners=True, "
        "torchcam scales them to [0, 1] before it resizes them; both run constant channels as "
        "well."
    ),
)
def scorecam(run: Run, *, score: str | None = None, channels: float | None = None) -> list[Tensor]:
    """Score-CAM: channels weighted by the class's probability under the mask each makes, summed.

    ``sum_k w_k A_k``, w_k the score of the image under the mask that channel k makes,
    ``H_k = minmax(resize(A_k))``; a channel without spread weighs nothing.

    Args:
        run: the unmasked pass.
        score: what a weight is. ``"probability"``, the class's softmax probability of ``x H_k``,
            as in the authors' code; ``"increase"``, ``y(x H_k) - y(0)``, the paper's definition 2;
            ``"softmax"``, that one's softmax over the channels. By default the first, and for a
            target that is no class the second.
        channels: mask with so many channels at most (an int), or with that share of them (a float
            up to 1): those of the highest mean gradient, for each image and target by itself.

    Returns:
        For each layer the signed raw map ``(batch, [targets,] *space)``.

    Wang et al. 2020 (arXiv:1910.01279), equation 5 and algorithm 1. The authors' code adds up the
    channels after they were resized; resizing is linear, so at the layer's resolution the sum is
    the same map.
    """
    return _Family(run, score, channels).raws()


@method(
    paper="Chen et al. 2022, doi:10.1007/978-3-031-26316-3_35",
    cost="301 F + 1 B",
    quick={"channels": 64},
    elsewhere=(
        "The authors' code also weighs the channels that were not chosen, as if their score were "
        "0, and resizes masks with align_corners=True."
    ),
)
def gscorecam(run: Run, *, channels: float = 300, score: str | None = "softmax") -> list[Tensor]:
    """gScoreCAM: Score-CAM of the channels with the highest mean gradient.

    Args:
        run: the unmasked pass.
        channels: how many channels (an int), or which share of them (a float up to 1).
        score: what a weight is, as for Score-CAM.

    Returns:
        For each layer the signed raw map ``(batch, [targets,] *space)``.

    Chen et al. 2022 (doi:10.1007/978-3-031-26316-3_35). Deviations: the authors' code gives the
    channels that were not chosen a score of 0 before the softmax, and so a weight; here they weigh
    nothing. A channel without spread is not chosen.
    """
    return _Family(run, score, channels).raws()


@method(
    paper="Wang et al. 2020, arXiv:2006.14255",
    cost="(N K + 1) F",
    needs_gradients=False,
    quick={"channels": 16, "samples": 4},
    elsewhere=_NOISE,
)
def sscam(
    run: Run,
    *,
    samples: int = 35,
    std: float = 2.0,
    noise: str = "mask",
    score: str | None = "softmax",
    channels: float | None = None,
) -> list[Tensor]:
    """SS-CAM: Score-CAM with scores averaged over noisy masks.

    Of a channel the score is the mean over ``x (H_k + N(0, std²))``.

    Args:
        run: the unmasked pass.
        samples: how many noisy masks for each channel.
        std: the noise's standard deviation, where masks go from 0 to 1.
        noise: ``"mask"``; or ``"channel"``, ``x (resize(A_k) + N(0, s²))`` with
            ``s = (std / (max - min of resize(A_k)))²``, as in the authors' code.
        score: what a weight is, as for Score-CAM, of the mean over the samples.
        channels: a budget, as for Score-CAM.

    Returns:
        For each layer the signed raw map ``(batch, [targets,] *space)``.

    Wang et al. 2020 (arXiv:2006.14255), smooth on feature maps. The noise is seeded by
    ``generator=`` and is the same for every image.
    """
    check_count(samples, "samples")
    check_range(std, "std", 0, ends="[)")
    check_one_of(noise, "noise", ("mask", "channel"))
    draw, scaled = chances(run), noise == "mask"

    def noisy(masks: Tensor, numbers: Tensor, sample: Tensor) -> Tensor:
        at = (numbers * samples + sample).tolist()
        drawn = torch.stack(
            [torch.randn(masks.shape[1:], generator=draw(one), device=masks.device) for one in at]
        ).to(masks)
        if scaled:
            return masks + std * drawn
        flat = masks.flatten(1)
        size = (std / (flat.amax(1) - flat.amin(1))).square()
        return masks + size.view(-1, *[1] * (masks.ndim - 1)) * drawn

    return _Family(run, score, channels, samples, noisy, scaled).raws()


@method(
    paper="Naidu et al. 2020, arXiv:2010.03023",
    cost="(N K + 1) F",
    needs_gradients=False,
    quick={"channels": 16, "samples": 4},
    elsewhere="torchcam adds the intensities up as it goes, to 5.5 times the mask where N is 10.",
)
def iscam(
    run: Run,
    *,
    samples: int = 10,
    score: str | None = "softmax",
    channels: float | None = None,
) -> list[Tensor]:
    """IS-CAM: Score-CAM with scores averaged over the mask's intensity.

    Of a channel the score is the mean over ``x H_k i / N``.

    Args:
        run: the unmasked pass.
        samples: N; i goes from 1 to N.
        score: what a weight is, as for Score-CAM, of the mean over the intensities.
        channels: a budget, as for Score-CAM.

    Returns:
        For each layer the signed raw map ``(batch, [targets,] *space)``.

    Naidu et al. 2020 (arXiv:2010.03023).
    """
    check_count(samples, "samples")

    def dimmed(masks: Tensor, numbers: Tensor, sample: Tensor) -> Tensor:
        share = (sample + 1).to(masks) / samples
        return masks * share.view(-1, *[1] * (masks.ndim - 1))

    return _Family(run, score, channels, samples, dimmed).raws()


@dataclass
class _Family:
    """What the members have in common: channels to masks to scores to weights."""

    run: Run
    score: str | None
    channels: float | None
    samples: int = 1
    vary: _Vary | None = None
    scaled: bool = True

    def raws(self) -> list[Tensor]:
        run = self.run
        if self.score is None:
            self.score = "probability" if run.asks_classes else "increase"
        check_one_of(self.score, "score", _SCORES)
        activations = [layer.activation() for layer in run.layers]
        alive = [spread(one, one.ndim - 2) for one in activations]  # (batch, channels)
        picked = self._picked(activations, alive)
        total = sum(int(_used(one).sum()) for one in picked) * self.samples
        done, raws = 0, []
        for activation, which in zip(activations, picked, strict=True):
            rows = []
            for index in range(run.batch):
                weights = self._weights(activation[index], which[index], index, done, total)
                rows.append(weights @ activation[index].flatten(1))
                done += int(_used(which)[index].sum()) * self.samples
            space = activation.shape[2:]
            raws.append(torch.stack(rows).reshape(*run.scores.shape, *space))
        return raws

    def _picked(self, activations: Sequence[Tensor], alive: Sequence[Tensor]) -> list[Tensor]:
        """Which channels each map is made of, ``(batch, [targets,] channels)``; tells of it."""
        run, targets = self.run, self.run.scores.shape[1:]
        for layer, one in zip(run.layers, alive, strict=True):
            constant = (~one).sum(1)
            if bool(constant.any()):
                low, high = int(constant.min()), int(constant.max())
                many = f"{high}" if low == high else f"{low} to {high}"
                run.notes.append(
                    f"{layer.label}: {many} of {one.shape[1]} channels are constant and left out"
                )
        if self.channels is None:
            return [one[:, None].expand(-1, *targets, -1) if targets else one for one in alive]
        picked = []
        sizes = [_budget(self.channels, one.shape[1]) for one in activations]
        for layer, gradient, one, size in zip(
            run.layers, _mean_gradients(run), alive, sizes, strict=True
        ):
            living = one[:, None].expand_as(gradient) if targets else one
            best = gradient.masked_fill(~living, -torch.inf).topk(size).indices
            chosen = torch.zeros_like(living).scatter(-1, best, value=True)
            picked.append(chosen & living)
            run.notes.append(
                f"{layer.label}: masked by {size} of {one.shape[1]} channels at most, those of the "
                "highest mean gradient of each score"
            )
        return picked

    def _weights(
        self, activation: Tensor, which: Tensor, index: int, done: int, total: int
    ) -> Tensor:
        """One image's weights, ``([targets,] channels)``, 0 where a channel is not picked."""
        numbers = _used(which[None])[0].nonzero()[:, 0]
        weights = activation.new_zeros(which.shape)
        if not len(numbers):
            return weights
        scores = variant_scores(
            self.run,
            index,
            len(numbers) * self.samples,
            lambda part: self._masked(activation, numbers, index, part),
            probability=self.score == "probability",
            done=lambda more: self.run.step(done + more, total),
        ).to(activation)
        scores = scores.view(len(numbers), self.samples, *scores.shape[1:]).mean(1).movedim(0, -1)
        if self.score == "increase":
            black = torch.zeros_like(self.run.image[index])[None]
            scores = scores - variant_scores(self.run, index, 1, lambda _: black).movedim(0, -1)
        used = which[..., numbers]
        if self.score == "softmax":
            scores = scores.masked_fill(~used, -torch.inf).softmax(-1)
        weights[..., numbers] = scores.masked_fill(~used, 0)
        return weights

    def _masked(self, activation: Tensor, numbers: Tensor, index: int, part: slice) -> Tensor:
        """Some of one image's masked variants, a channel's samples side by side."""
        at = torch.arange(part.start, part.stop, device=activation.device)
        own, sample = numbers[at // self.samples], at % self.samples
        maps, run = activation[own], self.run
        masks = masks_of(run, maps) if self.scaled else enlarge(maps, run.size, run.place)
        if self.vary is not None:
            masks = self.vary(masks, own, sample)
        return self.run.image[index] * masks[:, None]


def _used(picked: Tensor) -> Tensor:
    """Which channels any of the targets needs: ``(batch, [targets,] channels)``."""
    return picked.flatten(1, -2).any(1) if picked.ndim == 3 else picked


def _budget(channels: float, count: int) -> int:
    """How many of ``count`` channels are meant."""
    whole = isinstance(channels, int) and not isinstance(channels, bool)
    if whole and channels >= 1:
        return min(int(channels), count)
    if isinstance(channels, float) and 0 < channels <= 1:
        return max(1, round(channels * count))
    raise OptionError(
        f"channels= is a number of channels from 1 up, or a share of them as a float above 0 and "
        f"up to 1, not {channels!r}."
    )


def _mean_gradients(run: Run) -> list[Tensor]:
    """For each layer the score's gradient averaged over space, ``(batch, [targets,] channels)``."""

    def means(at: Run) -> list[Tensor]:
        columns = [at.gradients(column) for column in at.columns()]
        return at.joined([[one.flatten(2).mean(2) for one in column] for column in columns])

    if run.passed.way != "forward":
        return means(run)
    try:
        return means(run.look_again(run.image, "cut"))
    except NoPath:
        return means(run.look_again(run.image, "uncut"))
