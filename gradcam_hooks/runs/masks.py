"""Masked images: one image under many masks through the whole network, a few at a time.

What methods share that cover the input and watch the score. Masks are made for one chunk and gone
with it; the network runs without gradients. Knows runs and chunks; knows no method.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from gradcam_hooks.maps import enlarge, minmax
from gradcam_hooks.runs.belonging import inputs_of, scores_of
from gradcam_hooks.runs.chunks import in_chunks, size_for
from gradcam_hooks.runs.run import Run

__all__ = ["blurred", "chances", "filtered", "masks_of", "variant_scores"]

_AHEAD = 64
"""How many times its own size an image takes on its way through a network, roughly."""

_MOST_ON_CPU = 4
"""Images at once where there is no GPU to fill: what a cache holds. More of them take a fourth
longer each, and memory."""


def masks_of(run: Run, maps: Tensor) -> Tensor:
    """Masks in [0, 1] at the input's size, ``(n, *space)`` to ``(n, *size)``.

    Each map is resized (linear, ``align_corners=False``) and then min-max scaled; one without
    spread gives a mask of zeros.
    """
    return minmax(enlarge(maps, run.size, run.place), len(run.size))


def variant_scores(
    run: Run,
    index: int,
    count: int,
    variants: Callable[[slice], Tensor],
    *,
    probability: bool = False,
    done: Callable[[int], None] | None = None,
) -> Tensor:
    """The scores of ``count`` images in the place of one, ``(count[, targets])``.

    Args:
        run: the pass at the image itself.
        index: which image of the batch they stand for.
        count: how many there are; one at least.
        variants: takes a slice of them, returns them, ``(n, channels, *size)``.
        probability: the class's softmax probability rather than its score.
        done: told how many are done.

    Raises:
        TargetError: a probability is asked of a target that is no class.
    """
    image = run.image[index]
    size = size_for(_AHEAD * image.nbytes, image.device)
    if image.device.type == "cpu":
        size = min(size, _MOST_ON_CPU)

    def scores_of_part(part: slice) -> Tensor:
        images = variants(part).to(image.dtype)
        output = run.output_of(inputs_of(run, index, images))
        return scores_of(run, output, index, len(images), probability=probability)

    return in_chunks(count, scores_of_part, size=size, done=done)


def blurred(images: Tensor, cells: int, width: float) -> Tensor:
    """Images ``(batch, channels, *size)`` under a Gaussian, their borders mirrored.

    Args:
        images: of any rank of space.
        cells: the kernel's length along each axis, odd; shorter where the image is.
        width: its standard deviation, in cells.
    """
    for axis in range(2, images.ndim):
        half = min(cells // 2, images.shape[axis] - 1)
        at = torch.arange(-half, half + 1, dtype=images.dtype, device=images.device)
        kernel = torch.softmax(-at.square() / (2 * width**2), 0)
        images = filtered(images, kernel, axis, "reflect")
    return images


def filtered(
    values: Tensor,
    kernel: Tensor,
    axis: int,
    borders: Literal["constant", "reflect", "replicate"],
) -> Tensor:
    """Correlation with a kernel of odd length along one axis; ``borders`` as `functional.pad` has.

    Tap by tap, as fast as a convolution of one channel is on a CPU, and without the rounding that
    a GPU's convolutions are allowed.

    >>> filtered(torch.tensor([0.0, 4.0, 0.0, 8.0]), torch.tensor([0.25, 0.5, 0.25]), 0, "constant")
    tensor([1., 2., 3., 4.])
    """
    moved, half, cells = values.movedim(axis, -1), len(kernel) // 2, values.shape[axis]
    longer = functional.pad(moved.reshape(-1, cells), (half, half), mode=borders)
    taps = (weight * longer[:, at : at + cells] for at, weight in enumerate(kernel))
    total: Tensor = reduce(torch.add, taps)
    return total.view(moved.shape).movedim(-1, axis)


def chances(run: Run) -> Callable[[int], torch.Generator]:
    """A generator for each of many draws, by its number.

    So that what is drawn does not hang on how many are drawn together, which is memory's matter.
    """
    source = run.generator()
    first = int(torch.randint(2**62, (), generator=source, device=source.device))
    device = run.image.device
    return lambda number: torch.Generator(device).manual_seed(first + number)
