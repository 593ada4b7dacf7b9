"""The word on a map that is too coarse to point, and the layer that it names."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import gradcam_hooks as gh


def shrinking() -> nn.Sequential:
    """Halves its space at each step: of 32 x 48 cells 16 x 24, 8 x 12, 4 x 6, 2 x 3 are left."""
    torch.manual_seed(0)
    steps = [nn.Conv2d(3, 3, 3, stride=2, padding=1) for _ in range(4)]
    for step in steps:  # of a positive image all is positive, so that nothing is blank
        step.weight.data.abs_()
        step.bias.data.abs_()
    return nn.Sequential(*steps, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))


@pytest.mark.parametrize(("layer", "word"), [("3", "coarse"), ("2", "ok"), ("1", "ok")])
def test_fewer_than_four_cells_along_every_axis_are_coarse(layer: str, word: str) -> None:
    result = gh.explain(shrinking(), torch.rand(2, 3, 32, 48), layer, method="eigencam")
    assert set(result.diagnosis) == {word}


def test_the_finer_layer_is_named() -> None:
    (word,) = gh.explain(
        shrinking(), torch.rand(1, 3, 32, 48), target=0, method="eigencam"
    ).diagnosis
    assert word == "coarse"
    assert word.message.endswith("Take an earlier layer or a larger image. '2' is finer.")


def test_with_a_finer_layer_beside_it_a_map_is_not_coarse() -> None:
    result = gh.explain(shrinking(), torch.rand(1, 3, 32, 48), ["1", "3"], method="eigencam")
    assert result.diagnosis == ("ok",)


def test_one_axis_that_is_fine_is_enough() -> None:
    result = gh.explain(shrinking(), torch.rand(1, 3, 16, 64), "3", method="eigencam")
    assert tuple(result.raw.shape) == (1, 1, 4)
    assert result.diagnosis == ("ok",)
