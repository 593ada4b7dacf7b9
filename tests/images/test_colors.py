"""Colours by numbers: a dim picture stays dim, nothing overflows, jet is jet."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from gradcam_hooks.errors import InputError
from gradcam_hooks.images import palettes
from gradcam_hooks.images.colors import (
    COLORMAPS,
    DEFAULT_COLORMAP,
    blend,
    colorize,
    to_float,
    to_uint8,
)


class TestFloatsAndBytes:
    def test_every_byte_survives_the_round_trip(self) -> None:
        every = np.arange(256, dtype=np.uint8).reshape(16, 16)
        floats = to_float(every)
        assert floats.dtype == np.float32
        assert floats.min() == 0
        assert floats.max() == 1
        np.testing.assert_array_equal(to_uint8(floats), every)

    def test_a_picture_becomes_height_width_rgb(self) -> None:
        image = Image.new("RGB", (3, 2), (255, 51, 0))
        floats = to_float(image)
        assert floats.shape == (2, 3, 3)
        np.testing.assert_allclose(floats[1, 2], [1, 0.2, 0])

    def test_rounding_is_to_the_nearest(self) -> None:
        values = np.array([0.49, 0.51, 1.49, 1.51, 254.49, 254.51]) / 255
        assert to_uint8(values).tolist() == [0, 1, 1, 2, 254, 255]

    def test_a_rounding_error_beyond_one_is_white_not_black(self) -> None:
        assert to_uint8([np.nextafter(np.float32(1), np.float32(2)), -1e-7]).tolist() == [255, 0]

    @pytest.mark.parametrize("bad", [[1.5], [-0.1], [float("nan")], [float("inf")], [1e300]])
    def test_values_out_of_range_are_refused(self, bad: list[float]) -> None:
        with pytest.raises(InputError, match=r"must lie in \[0, 1\]"):
            to_uint8(bad)

    def test_bytes_and_floats_are_not_confused(self) -> None:
        with pytest.raises(InputError, match="expected 8-bit pixels"):
            to_float(np.zeros((2, 2)))  # type: ignore[arg-type]
        with pytest.raises(InputError, match=r"must be floats in \[0, 1\], got uint8"):
            to_uint8(np.zeros((2, 2), np.uint8))


class TestColorize:
    @pytest.mark.parametrize("name", COLORMAPS)
    def test_opencvs_table_in_rgb(self, name: str) -> None:
        steps = np.arange(256, dtype=np.uint8)[:, None]
        bgr = cv2.applyColorMap(steps, getattr(cv2, f"COLORMAP_{name.upper()}"))
        colours = colorize(steps / 255.0, name)
        assert colours.dtype == np.float32
        np.testing.assert_allclose(colours[:, :, ::-1] * 255, bgr, atol=1e-3)

    def test_every_map_of_opencv_has_its_name(self) -> None:
        theirs = {name[9:].lower() for name in dir(cv2) if name.startswith("COLORMAP_")}
        assert set(COLORMAPS) <= theirs

    def test_linear_between_the_entries(self) -> None:
        a, b, middle = colorize([10 / 255, 11 / 255, 10.5 / 255], "viridis")
        np.testing.assert_allclose(middle, (a + b) / 2, atol=1e-6)

    def test_jet_runs_from_dark_blue_through_green_to_dark_red(self) -> None:
        low, middle, high = colorize([0, 0.5, 1], "jet")
        np.testing.assert_allclose(low, [0, 0, 128 / 255], atol=1e-6)
        np.testing.assert_allclose(middle, [0.5, 1, 0.5], atol=0.02)
        np.testing.assert_allclose(high, [128 / 255, 0, 0], atol=1e-6)

    def test_the_default_gets_lighter_all_the_way(self) -> None:
        lightness = colorize(np.linspace(0, 1, 64), DEFAULT_COLORMAP) @ [0.2126, 0.7152, 0.0722]
        assert (np.diff(lightness) > 0).all()

    def test_names_are_taken_in_any_case(self) -> None:
        np.testing.assert_array_equal(colorize([0.3], "JET"), colorize([0.3], "jet"))

    def test_an_unknown_name_brings_the_nearest(self) -> None:
        with pytest.raises(InputError, match=r"no colour map 'viridid'; did you mean 'viridis'"):
            colorize([0.0], "viridid")
        with pytest.raises(InputError, match=r"no colour map 'qqqq'; There are: autumn, .*winter"):
            colorize([0.0], "qqqq")

    @pytest.mark.parametrize("bad", [1.2, -0.2, float("nan")])
    def test_a_map_out_of_range_is_refused(self, bad: float) -> None:
        with pytest.raises(InputError, match=r"the map must lie in \[0, 1\]"):
            colorize([[0.5, bad]])

    def test_a_tensor_is_taken(self) -> None:
        np.testing.assert_array_equal(
            colorize(torch.tensor([[0.5]]), "hot"), colorize([[0.5]], "hot")
        )

    def test_the_shared_table_cannot_be_spoilt(self) -> None:
        first = colorize([1.0], "hot")
        first[:] = 0
        assert colorize([1.0], "hot").tolist() == [[1, 1, 1]]
        with pytest.raises(ValueError, match="read-only"):
            palettes.colour_table("hot")[0, 0] = 1

    def test_without_opencvs_libraries_one_line_says_what_to_do(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "cv2", None)  # what Python itself does for a failed import
        palettes._named.cache_clear()
        with pytest.raises(ImportError, match="put opencv-python-headless in the place of"):
            colorize([0.0], "bone")


class TestBlend:
    def test_worked_by_hand(self) -> None:
        # hot(0) is black, hot(1) is white, jet(0) is (0, 0, 128/255).
        image = np.array([[[0.2, 0.4, 0.6], [0.2, 0.4, 0.6]]])
        mixed = blend(image, [[0, 1]], alpha=0.25, colormap="hot")
        assert mixed.dtype == np.float32
        np.testing.assert_allclose(mixed, [[[0.15, 0.3, 0.45], [0.4, 0.55, 0.7]]], atol=1e-6)
        mixed = blend(image, [[0, 0]], alpha=0.5, colormap="jet")
        np.testing.assert_allclose(mixed[0, 0], [0.1, 0.2, 0.3 + 64 / 255], atol=1e-6)

    def test_a_dim_picture_stays_dim(self) -> None:
        # Divided by its own maximum, this would come out white.
        dim = np.full((4, 4, 3), 0.02)
        mixed = blend(dim, np.zeros((4, 4)), alpha=0.5, colormap="hot")
        np.testing.assert_allclose(mixed, 0.01, atol=1e-7)

    def test_a_bright_picture_does_not_overflow(self) -> None:
        white = np.ones((2, 2, 3))
        np.testing.assert_allclose(blend(white, np.ones((2, 2)), colormap="hot"), 1)
        assert to_uint8(blend(white, np.ones((2, 2)), colormap="hot")).min() == 255

    def test_the_ends_of_alpha(self) -> None:
        image = np.random.default_rng(0).random((3, 5, 3), dtype=np.float32)
        heat = np.random.default_rng(1).random((3, 5), dtype=np.float32)
        np.testing.assert_array_equal(blend(image, heat, alpha=0), image)
        np.testing.assert_array_equal(blend(image, heat, alpha=1), colorize(heat))

    def test_unseen_parts_keep_their_pixels_and_the_border_is_white(self) -> None:
        image = np.full((7, 9, 3), 0.25)
        seen = np.zeros((7, 9), bool)
        seen[:, 3:8] = True  # reaches the top and the bottom of the picture
        mixed = blend(image, np.zeros((7, 9)), alpha=0.5, colormap="hot", seen=seen)
        row = [0.25, 0.25, 0.25, 1, 0.125, 0.125, 0.125, 1, 0.25]
        np.testing.assert_allclose(mixed[..., 0], [row] * 7)

    def test_all_seen_has_no_border(self) -> None:
        image, heat = np.full((4, 6, 3), 0.5), np.full((4, 6), 0.5)
        np.testing.assert_array_equal(
            blend(image, heat, seen=np.ones((4, 6), bool)), blend(image, heat)
        )

    def test_the_arguments_are_left_as_they_were(self) -> None:
        image, heat = np.full((4, 4, 3), 0.5, np.float32), np.full((4, 4), 0.5, np.float32)
        blend(image, heat, seen=np.tri(4, dtype=bool))
        assert (image == 0.5).all()
        assert (heat == 0.5).all()

    @pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
    def test_alpha_out_of_range(self, alpha: float) -> None:
        with pytest.raises(InputError, match="alpha= is the map's weight, from 0 to 1, not"):
            blend(np.zeros((1, 1, 3)), np.zeros((1, 1)), alpha=alpha)

    def test_shapes_that_do_not_fit(self) -> None:
        with pytest.raises(
            InputError, match=r"shape \(3, 2\), and the image \(2, 3\); Geometry.place"
        ):
            blend(np.zeros((2, 3, 3)), np.zeros((3, 2)))
        with pytest.raises(InputError, match=r"must be RGB, \(height, width, 3\); got \(3, 2, 2\)"):
            blend(np.zeros((3, 2, 2)), np.zeros((2, 2)))
        with pytest.raises(InputError, match=r"bool mask of the image's size \(2, 3\); got uint8"):
            blend(np.zeros((2, 3, 3)), np.zeros((2, 3)), seen=np.zeros((2, 3), np.uint8))

    def test_bytes_are_refused_rather_than_overflown(self) -> None:
        with pytest.raises(InputError, match=r"the image must be floats in \[0, 1\], got uint8"):
            blend(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2)))
