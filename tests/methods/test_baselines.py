"""Baselines: each by hand, Sobel beside OpenCV, and none of them knows the class."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from skimage import data

import gradcam_hooks as gh
from tests.support.nets import gap_linear, images
from tests.support.ranks import RANKS, batch, curved

NAMES = ("random", "center", "sobel", "fakecam")


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("name", NAMES)
def test_a_baseline_gives_a_map_in_every_rank_the_same_for_every_class(
    name: str, rank: int
) -> None:
    net, x = curved(rank), batch(rank)
    one, two = (gh.explain(net, x, "1", method=name, target=label) for label in (0, 3))
    assert one.maps.shape == (2, *x.shape[2:])
    assert set(one.diagnosis) == {"ok"}
    assert torch.equal(one.raw, two.raw)
    many = gh.explain(net, x, "1", method=name, target=gh.TopK(3))
    assert many.maps.shape == (2, 3, *x.shape[2:])
    assert not gh.METHODS[name].class_specific


def test_random_is_uniform_and_seeded() -> None:
    net, x = gap_linear(), images(1, (64, 64))
    first, second = (gh.explain(net, x, "1", method="random").raw for _ in range(2))
    assert torch.equal(first, second)
    other = gh.explain(net, x, "1", method="random", generator=torch.Generator().manual_seed(5)).raw
    assert not torch.equal(first, other)
    # 4,096 uniform numbers: the mean is within five standard errors of 1/2.
    assert abs(float(first.mean()) - 0.5) < 5 / math.sqrt(12 * 4096)
    assert 0 <= float(first.min()) < 0.01 < 0.99 < float(first.max()) <= 1


def test_the_gaussian_is_worked_by_hand() -> None:
    # A 1x2 picture: positions 1/4 and 3/4 across, 1/2 down. With a width of 1/4 each is one
    # deviation from the middle: exp(-1/2). Of 3 columns the middle one is at 0.
    net = gap_linear()
    two = gh.explain(net, images(1, (1, 2)), "1", method="center", layout="channels-first").raw
    assert torch.allclose(two, torch.full((1, 1, 2), math.exp(-0.5)))
    three = gh.explain(net, images(1, (1, 3)), "1", method="center", width=1 / 3).raw
    assert torch.allclose(three, torch.tensor([[[math.exp(-0.5), 1.0, math.exp(-0.5)]]]))


def test_sobel_is_opencvs_on_a_photograph() -> None:
    photo = data.astronaut()[::8, ::8]
    gray = photo.astype(np.float64).mean(2) / 255
    across, down = (
        cv2.Sobel(gray, cv2.CV_64F, *order, ksize=3, borderType=cv2.BORDER_REPLICATE) / 8
        for order in ((1, 0), (0, 1))
    )
    x = torch.from_numpy(photo / 255.0).permute(2, 0, 1)[None]
    found = gh.explain(gap_linear(), x, "1", method="sobel").raw[0].numpy()
    assert np.abs(found - np.hypot(across, down)).max() < 1e-6


def test_fake_cam_is_one_everywhere_but_in_the_first_corner() -> None:
    maps = gh.explain(gap_linear(), images(2, (4, 5)), "1", method="fakecam").maps
    assert maps.flatten(1).sum(1).tolist() == [19.0, 19.0]
    assert maps[:, 0, 0].tolist() == [0.0, 0.0]
