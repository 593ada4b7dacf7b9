"""Baselines: maps that know nothing of the class, for every table of methods to carry.

A method that does not do better than these has explained nothing. None of them is a method to
explain a network with.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gradcam_hooks.checks import check_range
from gradcam_hooks.methods.registry import method
from gradcam_hooks.runs.masks import filtered
from gradcam_hooks.runs.run import Run

__all__ = ["center_gaussian", "fake_cam", "random_map", "sobel"]


@method(
    "random",
    cls="RandomCAM",
    paper="no paper; a baseline",
    cost="1 F",
    needs_gradients=False,
    class_specific=False,
    elsewhere=(
        "grad-cam weighs each channel by noise, so that its map still follows the activation."
    ),
)
def random_map(run: Run) -> list[Tensor]:
    """Random: uniform noise at the layer's resolution.

    It lies in [0, 1] and is seeded by ``generator=``.
    """
    generator = run.generator()
    shape = run.scores.shape
    raws = []
    for layer in run.layers:
        drawn = torch.rand(
            *shape, *layer.layout.space, generator=generator, device=generator.device
        )
        raws.append(drawn.to(run.image.device))
    return raws


@method(
    "center",
    paper="no paper; a baseline",
    cost="1 F",
    needs_gradients=False,
    class_specific=False,
    looks="input",
)
def center_gaussian(run: Run, *, width: float = 0.25) -> list[Tensor]:
    """Center Gaussian: a Gaussian in the middle of the image.

    ``exp(-sum_i (u_i - 1/2)² / (2 width²))``, u the position along each axis in [0, 1].

    Args:
        run: for the input's size.
        width: the Gaussian's standard deviation, as a share of each side.

    Returns:
        The map ``(batch, [targets,] *size)``.

    Raises:
        OptionError: a width that is no number above 0.
    """
    check_range(width, "width", 0)
    exponent = torch.zeros((), device=run.image.device)
    for axis, cells in enumerate(run.size):
        at = (torch.arange(cells, device=run.image.device) + 0.5) / cells
        shape = [1] * len(run.size)
        shape[axis] = cells
        exponent = exponent + ((at - 0.5) / width).square().view(shape)
    return [_for_each(run, (-exponent / 2).exp()[None].expand(run.batch, *run.size))]


@method(
    cls="SobelEdges",
    paper="no paper; a baseline",
    cost="1 F",
    needs_gradients=False,
    class_specific=False,
    looks="input",
)
def sobel(run: Run) -> list[Tensor]:
    """Sobel: the size of the image's own gradient.

    By Sobel's operator, channels averaged first: along each axis of space the kernel is
    ``(-1, 0, 1) / 2``, along the others ``(1, 2, 1) / 4``; the borders are repeated. Returns the
    map ``(batch, [targets,] *size)``.
    """
    gray = run.image.detach().float().mean(1)
    slope = gray.new_tensor([-0.5, 0.0, 0.5])
    smooth = gray.new_tensor([0.25, 0.5, 0.25])
    total = torch.zeros_like(gray)
    for axis in range(len(run.size)):
        edge = gray
        for along in range(len(run.size)):
            kernel = slope if along == axis else smooth
            edge = filtered(edge, kernel, along + 1, "replicate")
        total = total + edge.square()
    return [_for_each(run, total.sqrt())]


@method(
    "fakecam",
    paper="Poppi et al. 2021, arXiv:2104.10252",
    cost="1 F",
    needs_gradients=False,
    class_specific=False,
    looks="input",
)
def fake_cam(run: Run) -> list[Tensor]:
    """Fake-CAM: 0 at the first position and 1 at all others.

    At the input's size. Poppi et al. 2021 (arXiv:2104.10252): it gets the best Average Drop there
    is, which is why it stands in every table.
    """
    ones = torch.ones(run.batch, math.prod(run.size), device=run.image.device)
    ones[:, 0] = 0
    return [_for_each(run, ones.view(run.batch, *run.size))]


def _for_each(run: Run, maps: Tensor) -> Tensor:
    """``(batch, *size)`` for each of the run's targets."""
    targets = run.scores.shape[1:]
    return maps[:, None].expand(-1, *targets, *maps.shape[1:]) if targets else maps
