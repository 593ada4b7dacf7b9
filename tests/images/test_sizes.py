"""A picture made smaller: its size, its means, and what it would be if it were averaged whole."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from gradcam_hooks.images.sizes import smaller


def photograph(width: int, height: int) -> Image.Image:
    flower = Image.fromarray(load_sample_images().images[1])
    return flower.resize((width, height), Image.Resampling.LANCZOS)


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (100, 1), (640, 640)])
def test_what_is_small_enough_is_left_alone(size):
    image = photograph(*size)
    assert smaller(image, 640) is image


@pytest.mark.parametrize(
    ("size", "made"),
    [((1279, 853), (640, 427)), ((853, 1279), (427, 640)), ((5000, 3), (640, 1))],
)
def test_the_longer_side_is_as_asked_and_the_proportions_stay(size, made):
    assert smaller(photograph(*size), 640).size == made


@pytest.mark.parametrize("times", [2, 3, 5])
def test_by_a_whole_number_each_pixel_is_the_mean_of_those_it_stands_for(times):
    image = photograph(60 * times, 40 * times)
    cells = np.asarray(image).reshape(40, times, 60, times, 3).mean((1, 3))
    assert np.abs(np.asarray(smaller(image, 60)) - cells).max() < 0.7  # Pillow rounds on the way


@pytest.mark.parametrize("width", [700, 1000, 1279, 1600, 2300])
def test_a_photograph_looks_as_if_it_were_averaged_whole(width):
    image = photograph(width, round(width / 1.5))
    made = smaller(image, 640)
    whole = image.resize(made.size, Image.Resampling.BILINEAR)
    difference = np.asarray(made).astype(float) - np.asarray(whole)
    assert 10 * np.log10(255**2 / (difference**2).mean()) > 33  # decibels of signal over noise
    assert np.abs(difference.mean((0, 1))).max() < 0.5
