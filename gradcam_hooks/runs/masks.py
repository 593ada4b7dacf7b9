"""Masked images: one image under many masks through the whole network, a few at a time.

What methods share that cover the input and watch the score. Masks are made for one chunk and gone
with it; the network runs without gradients. Knows runs and chunks; knows no method.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from gradcam_hooks.maps import enlarge, minmax
from gradcam_hooks.runs.belonging import inputs_of, scores_of
from gradcam_hooks.runs.chunks import in_chunks, size_for
from gradcam_hooks.runs.run import Run

__all__ = ["blurred", "chances", "masks_of", "variant_scores"]

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
        size = images.shape[axis]
        half = min(cells // 2, size - 1)
        at = torch.arange(-half, half + 1, dtype=images.dtype, device=images.device)
        kernel = torch.softmax(-at.square() / (2 * width**2), 0)
        unit = torch.eye(size, dtype=images.dtype, device=images.device)[None]
        mirrored = functional.pad(unit, (half, half), mode="reflect")
        weights = functional.conv1d(mirrored.transpose(0, 1), kernel[None, None])[:, 0]
        images = (images.movedim(axis, -1) @ weights).movedim(-1, axis)
    return images


def chances(run: Run) -> Callable[[int], torch.Generator]:
    """A generator for each of many draws, by its number.

    So that what is drawn does not hang on how many are drawn together, which is memory's matter.
    """
    source = run.generator()
    first = int(torch.randint(2**62, (), generator=source, device=source.device))
    device = run.image.device
    return lambda number: torch.Generator(device).manual_seed(first + number)
