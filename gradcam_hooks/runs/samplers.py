"""Samplers: a rule asked at several versions of the image, and the answers brought together.

A sampler goes with any rule of an activation and a gradient: ``sampler=Noise()`` averages
gradients over noisy images, `Integrate` goes from a baseline to the image, `Augment` averages the
maps of flipped and dimmed images. Knows runs; a rule is a function that it is handed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from gradcam_hooks.checks import check_count, check_range
from gradcam_hooks.errors import OptionError
from gradcam_hooks.runs.run import Run

__all__ = ["Augment", "Integrate", "Noise", "Sampler", "noisy"]

_Rule = Callable[[Tensor, Tensor], Tensor]


class Sampler(Protocol):
    """What asks a rule at several versions of the image."""

    def raws(self, run: Run, rule: _Rule) -> list[Tensor]:
        """For each layer the signed raw map ``(batch, [targets,] *space)``."""
        ...


@dataclass(frozen=True)
class Noise:
    """Clean activations, gradients averaged over noisy images (SmoothGrad, Smilkov et al. 2017).

    Args:
        samples: how many noisy images.
        std: the noise's standard deviation, as a share of each image's own range (its largest
            value less its smallest), which is how the paper (arXiv:1706.03825) gives it.

    Raises:
        OptionError: fewer than one sample, or a negative deviation.
    """

    samples: int = 8
    std: float = 0.15

    def __post_init__(self) -> None:
        check_count(self.samples, "samples")
        check_range(self.std, "std", 0, ends="[)", what="a share of the image's range,")

    def raws(self, run: Run, rule: _Rule) -> list[Tensor]:
        """The rule on the clean activation and the mean gradient."""
        images = noisy(run, self.samples, self.std)
        columns = _mean(_gradients(run.look_again(image, run.passed.way)) for image in images)
        activations = [layer.activation() for layer in run.layers]
        return run.joined(
            [
                [rule(a, g) for a, g in zip(activations, gradients, strict=True)]
                for gradients in columns
            ]
        )


@dataclass(frozen=True)
class Integrate:
    """The straight path from a baseline to the image (Integrated Grad-CAM, arXiv:2102.07805).

    ``mean over t of relu(rule(A(t) - A(0), g(t)))``, t the middles of equal steps from 0 to 1.

    Args:
        steps: how many.
        baseline: the value of the image at the path's start, in the input's own units.

    Raises:
        OptionError: fewer than one step, or a baseline that is no finite number.
    """

    steps: int = 20
    baseline: float = 0.0

    def __post_init__(self) -> None:
        check_count(self.steps, "steps")
        number = isinstance(self.baseline, int | float) and not isinstance(self.baseline, bool)
        if not number or not math.isfinite(self.baseline):
            raise OptionError(
                f"baseline= is a finite number in the input's own units, not {self.baseline!r}."
            )

    def raws(self, run: Run, rule: _Rule) -> list[Tensor]:
        """The mean of the rule's positive maps along the path."""
        start = torch.full_like(run.image, self.baseline)
        way = run.passed.way
        first = [layer.activation() for layer in run.look_again(start, "forward").layers]

        def maps() -> Iterator[list[list[Tensor]]]:
            for step in range(self.steps):
                share = (step + 0.5) / self.steps
                at = run.look_again(start + share * (run.image - start), way)
                moved = [layer.activation() - a for layer, a in zip(at.layers, first, strict=True)]
                yield [
                    [rule(a, g).relu() for a, g in zip(moved, gradients, strict=True)]
                    for gradients in _gradients(at)
                ]
                run.step(step + 1, self.steps)

        return run.joined(_mean(maps()))


@dataclass(frozen=True)
class Augment:
    """The mean map of flipped and dimmed images, each map flipped back (test-time augmentation).

    Args:
        flip: whether the last axis is flipped too.
        factors: what the pixels are multiplied by, one map for each (and each flip).

    Raises:
        OptionError: no factor.
    """

    flip: bool = True
    factors: tuple[float, ...] = (0.9, 1.0, 1.1)

    def __post_init__(self) -> None:
        if not self.factors:
            raise OptionError("Augment(factors=) needs one factor at least, such as (1.0,).")

    def raws(self, run: Run, rule: _Rule) -> list[Tensor]:
        """The mean of the signed maps."""
        way, total = run.passed.way, len(self.factors) * (1 + self.flip)

        def maps() -> Iterator[list[list[Tensor]]]:
            done = 0
            for flipped in (False, True)[: 1 + self.flip]:
                for factor in self.factors:
                    image = run.image * factor
                    at = run.look_again(image.flip(-1) if flipped else image, way)
                    activations = [layer.activation() for layer in at.layers]
                    raws = [
                        [rule(a, g) for a, g in zip(activations, gradients, strict=True)]
                        for gradients in _gradients(at)
                    ]
                    yield [[raw.flip(-1) if flipped else raw for raw in one] for one in raws]
                    done += 1
                    run.step(done, total)

        return run.joined(_mean(maps()))


def noisy(run: Run, samples: int, std: float) -> Iterator[Tensor]:
    """The image with seeded Gaussian noise, ``samples`` times; ``std`` as for `Noise`."""
    image, generator = run.image, run.generator()
    flat = image.flatten(1)
    reach = (flat.amax(1) - flat.amin(1)).view(-1, *[1] * (image.ndim - 1))
    for sample in range(samples):
        drawn = torch.randn(image.shape, generator=generator, device=generator.device)
        yield image + std * reach * drawn.to(image)
        run.step(sample + 1, samples)


def _gradients(run: Run) -> list[list[Tensor]]:
    """For each target the gradient at each layer."""
    return [run.gradients(column) for column in run.columns()]


def _mean(samples: Iterator[list[list[Tensor]]]) -> list[list[Tensor]]:
    """The mean over samples of the tensors for each target and layer."""
    total: list[list[Tensor]] = []
    count = 0
    for sample in samples:
        count += 1
        if not total:
            total = [list(one) for one in sample]
            continue
        for mine, one in zip(total, sample, strict=True):
            for i, tensor in enumerate(one):
                mine[i] = mine[i] + tensor
    return [[tensor / count for tensor in one] for one in total]
