"""RISE: masks and maps by hand, by loops, and its masks beside those of scikit-image's resize."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
import torch
from skimage.transform import resize as skimage_resize
from torch import Tensor, nn

import gradcam_hooks as gh
from gradcam_hooks.methods.random_masks import Masks
from tests.support.ranks import RANKS, SIZES, batch, curved


def test_a_mask_by_hand() -> None:
    # A grid of (1, 0) on four pixels: cells of two, so it is resized to six, at (i + 1/2) / 3 - 1/2
    # = -1/3, 0, 1/3, 2/3, 1, 4/3: 1, 1, 2/3, 1/3, 0, 0; four of them from the shift on.
    masks = Masks(torch.tensor([[1.0, 0.0]] * 2), torch.tensor([[0], [1]]), (2,), (4,))
    expected = torch.tensor([[1, 1, 2 / 3, 1 / 3], [1, 2 / 3, 1 / 3, 0]])
    assert torch.allclose(masks[0:2], expected)
    assert torch.allclose(masks[1:2], expected[1:])
    # 3 of the first and 6 of the second; another target asks for 1 and 0.
    summed = masks.weighted(torch.tensor([[3.0, 1.0], [6.0, 0.0]]))
    assert torch.allclose(summed, torch.tensor([[9, 7, 4, 1], [1, 1, 2 / 3, 1 / 3]]))


def redrawn(count: int, cells: int, keep: float, size: Sequence[int], seed: int) -> list[Tensor]:
    """The same masks by the paper's recipe, resized by scikit-image, cropped one by one."""
    generator = torch.Generator().manual_seed(seed)
    many = [min(cells, pixels) for pixels in size]
    grids = torch.rand(count, *many, generator=generator) < keep
    cell = [math.ceil(pixels / n) for pixels, n in zip(size, many, strict=True)]
    shifts = [torch.randint(pixels, (count,), generator=generator) for pixels in cell]
    larger = [(n + 1) * pixels for n, pixels in zip(many, cell, strict=True)]
    masks = []
    for i in range(count):
        grid = grids[i].numpy().astype(np.float64)
        up = skimage_resize(grid, larger, order=1, mode="edge", anti_aliasing=False)
        at = tuple(
            slice(int(s[i]), int(s[i]) + pixels) for s, pixels in zip(shifts, size, strict=True)
        )
        masks.append(torch.from_numpy(up[at]))
    return masks


@pytest.mark.parametrize("rank", RANKS)
def test_in_loops(rank: int) -> None:
    model, x = curved(rank), batch(rank)
    masks = redrawn(9, 3, 0.4, SIZES[rank], 11)
    assert all(mask.shape == SIZES[rank] for mask in masks)
    for probability in (True, False):
        result = gh.explain(
            model,
            x,
            method="rise",
            target=gh.TopK(2),
            masks=9,
            cells=3,
            keep=0.4,
            probability=probability,
            generator=torch.Generator().manual_seed(11),
        )
        assert result.layers == ("input",)
        assert result.target is not None
        for index, target in product(range(2), range(2)):
            expected = torch.zeros(SIZES[rank], dtype=torch.float64)
            for mask in masks:
                logits = model((x[index] * mask)[None])[0].detach()
                score = (logits.softmax(0) if probability else logits)[result.target[index, target]]
                expected += float(score) * mask / (9 * 0.4)
            assert torch.allclose(result.raw[index, target], expected, rtol=1e-8, atol=1e-8)


def test_masks_keep_the_share_that_is_asked_for() -> None:
    # Each pixel of a mask is kept with probability `keep` on average: the mean over 2,000 masks is
    # within five deviations, sqrt(0.3 * 0.7 / 2000) each at most.
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(49, 1)), torch.ones(1, 1, 7, 7)
    nn.init.zeros_(model[1].weight)
    nn.init.ones_(model[1].bias)  # every mask scores 1, so the map is the masks' mean over keep
    result = gh.explain(model, x, method="rise", target=0, masks=2000, keep=0.3, probability=False)
    assert isinstance(result.raw, Tensor)
    assert (result.raw * 0.3 - 0.3).abs().max() < 5 * math.sqrt(0.3 * 0.7 / 2000)


def test_it_finds_what_the_network_looks_at() -> None:
    class Corner(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, :, 2:4, 9:11].mean((1, 2, 3))[:, None]

    x = torch.ones(1, 1, 12, 14)
    result = gh.explain(Corner(), x, method="rise", target=0, masks=600, probability=False)
    row, column = divmod(int(result.maps[0].argmax()), 14)
    assert 1 <= row <= 4
    assert 8 <= column <= 11


def test_seeded() -> None:
    model, x = curved(2), batch(2)

    def ask(seed: int | None = None) -> Tensor:
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        raw = gh.explain(
            model, x, method="rise", target=1, masks=5, cells=3, generator=generator
        ).raw
        assert isinstance(raw, Tensor)
        return raw

    assert torch.equal(ask(), ask())
    assert torch.equal(ask(3), ask(3))
    assert not torch.equal(ask(3), ask(4))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"masks": 0}, "masks= is a whole number from 1 up"),
        ({"cells": 0.5}, "cells= is a whole number from 1 up"),
        ({"keep": 0.0}, "keep= is a number above 0 and 1 at most, not 0.0"),
        ({"keep": 1.5}, "keep= is a number above 0 and 1 at most, not 1.5"),
    ],
)
def test_options_that_are_none(options: dict[str, object], told: str) -> None:
    with pytest.raises(gh.OptionError, match=told):
        gh.explain(curved(2), batch(2), method="rise", target=1, **options)  # type: ignore[arg-type]
