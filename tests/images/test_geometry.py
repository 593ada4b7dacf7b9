"""A map goes back to where it came from: by hand, against torch, and through real resizing."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch.nn.functional import grid_sample, interpolate

from gradcam_hooks.errors import InputError
from gradcam_hooks.images.geometry import Geometry

RNG = np.random.default_rng(0)


class TestPlace:
    @pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
    def test_the_identity_is_exact(self, dtype: type) -> None:
        values = RNG.random((37, 53)).astype(dtype)
        placed = Geometry.stretched((37, 53), (37, 53)).place(values)
        assert placed.dtype == np.float32
        np.testing.assert_array_equal(placed, values.astype(np.float32))

    @pytest.mark.parametrize("original", [(300, 451), (64, 7), (224, 224), (1, 1)])
    def test_stretching_is_torchs_bilinear(self, original: tuple[int, int]) -> None:
        values = torch.rand(32, 48, generator=torch.Generator().manual_seed(0))
        theirs = interpolate(values[None, None].double(), size=original, mode="bilinear")[0, 0]
        ours = Geometry.stretched(original, (32, 48)).place(values)
        np.testing.assert_allclose(ours, theirs, atol=1e-6)

    def test_any_scale_and_offset_is_grid_sample(self) -> None:
        geometry = Geometry((40, 60), (16, 12), scale=(1.7, 3.1), offset=(5.25, 11.5))
        values = RNG.random((16, 12))
        y = (np.arange(40) + 0.5 - 5.25) / 1.7
        x = (np.arange(60) + 0.5 - 11.5) / 3.1
        grid = np.stack(np.meshgrid(2 * x / 12 - 1, 2 * y / 16 - 1), axis=-1)
        theirs = grid_sample(
            torch.tensor(values)[None, None],
            torch.tensor(grid)[None],
            mode="bilinear",
            padding_mode="border",
            align_corners=False,
        )[0, 0].numpy()
        inside = ((y > 0) & (y < 16))[:, None] & ((x > 0) & (x < 12))
        np.testing.assert_allclose(geometry.place(values), theirs * inside, atol=1e-6)
        np.testing.assert_array_equal(geometry.seen_mask(), inside)

    def test_by_hand_a_crop_of_the_middle(self) -> None:
        # Input pixels cover 1..3 and 3..5 of a row of 6; their centres are 2 and 4.
        geometry = Geometry((1, 6), (1, 2), scale=(1.0, 2.0), offset=(0.0, 1.0))
        assert geometry.seen == (1.0, 0.0, 5.0, 1.0)
        assert geometry.place([[4.0, 8.0]]).tolist() == [[0, 4, 5, 7, 8, 0]]
        assert geometry.seen_mask().tolist() == [[False, True, True, True, True, False]]

    def test_by_hand_a_letterbox(self) -> None:
        # A row of 2 in the middle of an input of 4: the padding's values are not on the picture.
        geometry = Geometry((1, 2), (1, 4), scale=(1.0, 1.0), offset=(0.0, -1.0))
        assert geometry.seen == (0.0, 0.0, 2.0, 1.0)
        assert geometry.place([[9.0, 1.0, 2.0, 9.0]]).tolist() == [[1, 2]]
        assert geometry.seen_mask().all()

    def test_a_tensor_of_any_kind_is_taken_and_left_alone(self) -> None:
        values = torch.rand(4, 4, requires_grad=True)
        before = values.detach().clone()
        geometry = Geometry((4, 4), (4, 4), scale=(1.0, 1.0), offset=(2.0, 0.0))
        placed = geometry.place(values)
        assert (placed[:2] == 0).all()
        assert torch.equal(values.detach(), before)
        assert Geometry.stretched((2, 2), (4, 4)).place(values.bfloat16()).shape == (2, 2)

    @pytest.mark.parametrize("shape", [(1, 4, 4), (4, 5), (4,)])
    def test_another_shape_is_refused(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(
            InputError, match=r"one map of the input's size \(4, 4\), got the shape"
        ):
            Geometry.stretched((8, 8), (4, 4)).place(np.zeros(shape))


class TestFields:
    @pytest.mark.parametrize("side", range(1, 1200, 7))
    def test_a_whole_picture_is_seen_in_whole_numbers(self, side: int) -> None:
        geometry = Geometry.stretched((side, 640), (224, 224))
        assert geometry.seen == (0.0, 0.0, 640.0, float(side))
        assert geometry.seen_mask().all()

    def test_through_json_and_back(self) -> None:
        geometry = Geometry((400, 600), (224, 224), scale=(1.5625, 1.5625), offset=(25.0, 125.0))
        text = json.dumps(geometry.to_dict())
        assert json.loads(text) == {
            "original": [400, 600],
            "input": [224, 224],
            "scale": [1.5625, 1.5625],
            "offset": [25.0, 125.0],
        }
        again = Geometry.from_dict(json.loads(text))
        assert again == geometry
        assert hash(again) == hash(geometry)
        assert all(type(side) is int for side in again.original + again.input)

    def test_fields_that_are_missing_or_unknown(self) -> None:
        fields = Geometry.stretched((2, 2), (2, 2)).to_dict()
        del fields["scale"]
        with pytest.raises(InputError, match="has the fields original, input, scale, offset; got"):
            Geometry.from_dict(fields)

    @pytest.mark.parametrize(
        ("field", "value", "text"),
        [
            ("original", (0, 5), "original must be .* whole pixels, both at least 1"),
            ("input", (2.5, 5), "input must be .* whole pixels"),
            ("original", (5,), r"original must be \(vertical, horizontal\) numbers; got \(5,\)"),
            ("scale", (1.0, 0.0), "scale must be positive"),
            ("scale", (1.0, float("nan")), "scale must be finite"),
            ("offset", "ab", "offset must be .* numbers; got 'ab'"),
            ("offset", (float("inf"), 0.0), "offset must be finite"),
        ],
    )
    def test_fields_out_of_their_range(self, field: str, value: object, text: str) -> None:
        fields = Geometry.stretched((4, 4), (2, 2)).to_dict()
        with pytest.raises(InputError, match=text):
            Geometry.from_dict({**fields, field: value})  # type: ignore[dict-item]
