"""Map arithmetic on numbers worked out by hand, and as laws on drawn numbers."""

from __future__ import annotations

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from gradcam_hooks.maps import finish, finish_telling, fuse, minmax, resize, spread


def test_minmax_by_hand() -> None:
    # (x - 1) / (5 - 1)
    scaled = minmax(torch.tensor([[[1.0, 2.0], [3.0, 5.0]]]), 2)
    assert scaled.tolist() == [[[0.0, 0.25], [0.5, 1.0]]]


def test_a_map_without_spread_is_zeros_not_nan() -> None:
    assert minmax(torch.full((2, 3, 3), 7.0), 2).eq(0).all()


def test_resize_by_hand() -> None:
    # Pixel centres at 1/4, 3/4 of the line: the outer two lie beyond the first and last sample's
    # centre and repeat them, the inner two are 3:1 mixtures of 0 and 4.
    assert resize(torch.tensor([[0.0, 4.0]]), (4,)).tolist() == [[0.0, 1.0, 3.0, 4.0]]


@pytest.mark.parametrize(
    ("space", "size", "mode"),
    [((3,), (7,), "linear"), ((3, 4), (9, 5), "bilinear"), ((2, 3, 4), (5, 6, 7), "trilinear")],
)
def test_resize_is_torch_interpolation_in_every_rank(
    space: tuple[int, ...], size: tuple[int, ...], mode: str
) -> None:
    maps = torch.randn(2, 5, *space, generator=torch.manual_seed(0))
    expected = functional.interpolate(maps, size, mode=mode, align_corners=False)
    assert torch.allclose(resize(maps, size), expected, atol=1e-6)


def test_resize_is_opencvs_linear() -> None:
    import cv2

    one = torch.rand(7, 5, generator=torch.manual_seed(0))
    expected = cv2.resize(one.numpy(), (45, 63), interpolation=cv2.INTER_LINEAR)
    assert np.abs(resize(one, (63, 45)).numpy() - expected).max() < 5e-7


def test_finish_is_minmax_of_resize_of_relu() -> None:
    raw = torch.randn(3, 4, 4, generator=torch.manual_seed(1))
    for one, done in zip(raw, finish(raw, (9, 9)), strict=True):
        big = functional.interpolate(
            one.relu()[None, None], (9, 9), mode="bilinear", align_corners=False
        )[0, 0]
        assert torch.allclose(done, (big - big.min()) / (big.max() - big.min()), atol=1e-6)


def test_finish_of_many_maps_equals_finish_of_each() -> None:
    # More maps than fit in one block.
    raw = torch.randn(2, 50, 7, 7, generator=torch.manual_seed(2))
    together = finish(raw, (224, 224))
    assert together.shape == (2, 50, 224, 224)
    for image in (0, 1):
        for target in (0, 29, 49):
            alone = finish(raw[image, target], (224, 224))
            assert torch.allclose(together[image, target], alone, atol=1e-6)


def test_rounding_is_not_blown_up_to_a_picture() -> None:
    # A constant that no binary fraction equals: interpolation differs in its last bits.
    raw = torch.full((1, 7, 7), 0.1)
    assert finish(raw, (224, 224)).eq(0).all()
    raw[0, 3, 3] = raw[0, 3, 3] * (1 + 2e-7)
    assert finish(raw, (224, 224)).eq(0).all()
    raw[0, 3, 3] = 0.1001
    assert finish(raw, (224, 224)).max() == 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_blanks_its_own_map_alone(bad: float) -> None:
    raw = torch.rand(2, 3, 3, generator=torch.manual_seed(3))
    raw[0, 1, 1] = bad
    maps = finish(raw, (6, 6))
    assert maps[0].eq(0).all()
    assert maps[1].max() == 1


def test_fusion_by_hand() -> None:
    one, two = torch.tensor([[0.0, 1.0, 0.5]]), torch.tensor([[0.0, 0.0, 1.0]])
    # means 0, 0.5, 0.75 -> over 0.75; maxima 0, 1, 1
    assert torch.allclose(fuse([one, two], "mean", 1), torch.tensor([[0.0, 2 / 3, 1.0]]))
    assert fuse([one, two], "max", 1).tolist() == [[0.0, 1.0, 1.0]]
    assert fuse([one], "mean", 1) is one


@given(
    arrays.arrays(
        np.float32,
        arrays.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=4),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
    )
)
@settings(max_examples=200, deadline=None)
def test_whatever_the_raw_map_the_map_is_finite_and_in_0_1(drawn: np.ndarray) -> None:
    maps = finish(torch.from_numpy(drawn.copy()), (5, 6))
    assert maps.isfinite().all()
    assert maps.min() >= 0
    assert maps.max() <= 1
    # each is blank, or reaches from 0 to 1 unless resizing evened it out
    assert maps.shape == (len(drawn), 5, 6)


def test_spread_is_relative() -> None:
    maps = torch.tensor([[1e-30, 2e-30], [1e30, 1e30], [1.0, 1.0 + 1e-7], [0.0, 0.0]])
    assert spread(maps, 1).tolist() == [True, False, False, False]


@pytest.mark.parametrize("share", [1e-2, 1e-4, 1e-5, 1e-6])
@pytest.mark.parametrize("space", [(6,), (4, 5), (3, 4, 5)])
def test_a_map_of_small_spread_keeps_its_digits(space: tuple[int, ...], share: float) -> None:
    """High above zero, as attention rollout's are: the formula in float64 is the truth."""
    size = tuple(2 * cells + 1 for cells in space)
    generator = torch.Generator().manual_seed(5)
    spread_of = torch.rand(4, *space, dtype=torch.float64, generator=generator)
    raw = 0.044 * (1 + share * spread_of)
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(space)]
    big = functional.interpolate(raw[:, None], size, mode=mode)[:, 0].flatten(1)
    low, high = big.amin(1, keepdim=True), big.amax(1, keepdim=True)
    expected = ((big - low) / (high - low)).view(4, *size)
    assert (finish(raw, size) - expected).abs().max() < 1e-6
    alone = torch.cat([finish(one[None], size) for one in raw])
    assert (finish(raw, size) - alone).abs().max() < 1e-6


def test_the_precision_of_the_network_tells_what_is_rounding() -> None:
    # A spread of 1e-9: evidence where the network computed in float64, rounding where it did not.
    raw = torch.tensor([[1.0, 1.0 + 1e-9]], dtype=torch.float64)
    assert finish_telling(raw, (2,))[0].tolist() == [[0.0, 1.0]]
    maps, blank = finish_telling(raw, (2,), precision=torch.float32)
    assert maps.eq(0).all()
    assert blank.tolist() == [True]


def test_a_map_smaller_than_float32_can_tell_is_a_map() -> None:
    raw = torch.tensor([[0.0, 1e-60, 2e-60]], dtype=torch.float64)
    assert finish(raw, (3,)).tolist() == [[0.0, 0.5, 1.0]]
