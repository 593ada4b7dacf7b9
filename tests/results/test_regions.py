"""From maps to regions: by hand, against OpenCV, scikit-image and SciPy, in one to three axes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage import data, filters, measure

import gradcam_hooks as gh
from gradcam_hooks.results import regions
from gradcam_hooks.results.regions import Cut
from tests.support.nets import gap_linear, images

RNG = np.random.default_rng(0)
PHOTOS = {
    "camera": data.camera(),
    "coins": data.coins(),
    "page": data.page(),
    "astronaut": cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2GRAY),
    "coffee": cv2.cvtColor(data.coffee(), cv2.COLOR_RGB2GRAY),
    "chelsea": cv2.cvtColor(data.chelsea(), cv2.COLOR_RGB2GRAY),
}


def flags(*rows: str) -> np.ndarray:
    """A mask drawn in letters: "#" is True."""
    return np.array([[letter == "#" for letter in row] for row in rows])


class TestMask:
    def test_by_hand(self) -> None:
        heat = [[0.0, 0.25, 0.5], [0.75, 1.0, 0.49]]
        assert regions.mask(heat).tolist() == [[False, False, True], [True, True, False]]
        assert regions.mask(heat, Cut(0.75)).tolist() == [[False] * 3, [True, True, False]]
        assert regions.mask(torch.tensor(heat), Cut(1.0)).sum() == 1

    def test_zero_is_in_no_mask(self) -> None:
        assert regions.mask([0.0, 0.1], Cut(0.0)).tolist() == [False, True]
        for cut in (Cut(0.0), Cut(method="otsu"), Cut(method="quantile", quantile=0.0)):
            assert not regions.mask(np.zeros((3, 4)), cut).any()

    def test_a_quantile_by_hand(self) -> None:
        heat = np.arange(1, 11) / 10
        # The value at share 0.75 of ten lies at 6.75 steps from the first: 0.775.
        high = regions.mask(heat, Cut(method="quantile", quantile=0.75))
        assert high.tolist() == [False] * 7 + [True] * 3
        assert regions.mask(heat, Cut(method="quantile")).tolist() == [False] * 9 + [True]

    def test_what_was_not_seen_has_no_say(self) -> None:
        heat = np.array([0.9, 0.8, 0.2, 0.1, 1.0, 1.0])
        seen = np.array([True] * 4 + [False] * 2)
        assert regions.mask(heat, Cut(0.5), seen).tolist() == [True, True] + [False] * 4
        half = Cut(method="quantile", quantile=0.5)
        assert regions.mask(heat, half, seen).tolist() == [True, True] + [False] * 4
        assert regions.mask(heat, half).tolist() == [True, False, False, False, True, True]
        assert not regions.mask(heat, Cut(0.5), np.zeros(6, bool)).any()

    @pytest.mark.parametrize("name", PHOTOS)
    def test_otsu_is_opencvs_to_the_pixel(self, name: str) -> None:
        grey = PHOTOS[name]
        _, theirs = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
        ours = regions.mask(grey.astype(np.float32) / 255, Cut(method="otsu"))
        assert np.array_equal(ours, theirs > 0)

    @pytest.mark.parametrize("name", PHOTOS)
    def test_otsu_is_scikit_images_within_a_bin(self, name: str) -> None:
        grey = PHOTOS[name]
        assert abs(regions.otsu(grey.astype(np.float32) / 255) * 255 - 0.5 - float(
            filters.threshold_otsu(grey)
        )) <= 1  # fmt: skip

    def test_otsu_parts_two_groups(self) -> None:
        heat = np.concatenate([np.full(50, 0.1), np.full(7, 0.9)])
        assert 0.1 < regions.otsu(heat) < 0.9
        assert regions.mask(heat, Cut(method="otsu")).sum() == 7

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"method": "ostu"}, r"'threshold', 'otsu', 'quantile', not 'ostu'"),
            ({"threshold": 1.5}, r"threshold= is a number from 0 to 1, not 1\.5"),
            ({"threshold": float("nan")}, "threshold= is a number from 0 to 1, not nan"),
            (
                {"method": "quantile", "quantile": -0.1},
                "quantile= is a number from 0 to 1",
            ),
            ({"method": "otsu", "threshold": 0.5}, "with method='otsu' leave it out"),
            ({"quantile": 0.9}, "quantile= is for method='quantile'"),
        ],
    )
    def test_a_cut_that_cannot_be(self, given: dict, message: str) -> None:
        with pytest.raises(gh.InputError, match=message):
            Cut(**given)


class TestBoxes:
    # A region of 5, one of 4 that touches itself at a corner only, and a single pixel.
    DRAWN = flags(
        ".##...#",
        ".##....",
        ".#..#..",
        "...#...",
        "..#....",
        ".#.....",
    )

    def test_by_hand(self) -> None:
        # (1, 2) touches nothing of the diagonal: its neighbours at (2, 3) and (2, 1) are off.
        assert regions.boxes(self.DRAWN) == [(1, 0, 3, 3), (1, 2, 5, 6), (6, 0, 7, 1)]
        assert regions.boxes(self.DRAWN, min_area=4) == [(1, 0, 3, 3), (1, 2, 5, 6)]
        assert regions.boxes(self.DRAWN, min_area=6) == []
        left, top, right, bottom = regions.boxes(self.DRAWN)[0]
        assert self.DRAWN[top:bottom, left:right].sum() == 5

    def test_of_two_of_one_size_the_first_read_comes_first(self) -> None:
        drawn = flags("...#", "....", "#...", "...#", "#...")
        assert regions.boxes(drawn) == [(3, 0, 4, 1), (0, 2, 1, 3), (3, 3, 4, 4), (0, 4, 1, 5)]

    @pytest.mark.parametrize("share", [0.1, 0.35, 0.6])
    def test_scikit_images_on_noise(self, share: float) -> None:
        noise = RNG.random((60, 83)) < share
        theirs = measure.regionprops(measure.label(noise, connectivity=2))
        areas = sorted((int(one.area) for one in theirs), reverse=True)
        boxes = regions.boxes(noise)
        assert sorted(boxes) == sorted(
            (one.bbox[1], one.bbox[0], one.bbox[3], one.bbox[2]) for one in theirs
        )
        by_box = {
            (one.bbox[1], one.bbox[0], one.bbox[3], one.bbox[2]): int(one.area) for one in theirs
        }
        if len(by_box) == len(boxes):  # no two regions with one box
            assert [by_box[box] for box in boxes] == areas

    def test_a_signals_boxes_are_spans(self) -> None:
        on = np.array([True, False, True, True, True, False, True, True])
        assert regions.boxes(on) == [(2, 5), (6, 8), (0, 1)]

    def test_a_volumes_boxes_by_hand(self) -> None:
        volume = np.zeros((4, 5, 6), bool)
        volume[0, 1:3, 2:5] = True  # six voxels, and one more that hangs on by a corner
        volume[1, 3, 5] = True
        volume[3, 0, 0] = True
        assert regions.boxes(volume) == [(2, 1, 0, 6, 4, 2), (0, 0, 3, 1, 1, 4)]

    @pytest.mark.parametrize("shape", [(40,), (12, 9, 14), (5, 6, 4, 7)])
    @pytest.mark.parametrize("share", [0.03, 0.2])
    def test_scipys_regions_in_any_rank(self, shape: tuple[int, ...], share: float) -> None:
        noise = RNG.random(shape) < share
        theirs, count = ndimage.label(noise, structure=np.ones((3,) * len(shape)))
        ours, found = regions.components(noise)
        assert found == count > 0
        assert np.array_equal(ours > 0, noise)
        pairs = set(zip(ours[noise].tolist(), theirs[noise].tolist(), strict=True))
        assert len(pairs) == count  # one to one
        slices = ndimage.find_objects(theirs)
        assert sorted(regions.boxes(noise)) == sorted(
            (*(s.start for s in one[::-1]), *(s.stop for s in one[::-1])) for one in slices
        )

    def test_nothing_and_everything(self) -> None:
        assert regions.boxes(np.zeros((3, 4), bool)) == []
        assert regions.boxes(np.ones((3, 4), bool)) == [(0, 0, 4, 3)]
        assert regions.boxes(torch.ones(2, 2, 2, dtype=torch.bool)) == [(0, 0, 0, 2, 2, 2)]
        assert regions.boxes(np.zeros((0, 4), bool)) == []

    def test_numbers_are_no_mask(self) -> None:
        with pytest.raises(gh.InputError, match=r"a mask is bool.*float64 of shape \(2, 2\)"):
            regions.boxes(np.ones((2, 2)))


class TestContours:
    def test_a_filled_outline_is_the_region(self) -> None:
        on = regions.mask(PHOTOS["coins"].astype(np.float32) / 255, Cut(method="otsu"))
        boxes, lines = regions.boxes(on, min_area=200), regions.contours(on, min_area=200)
        assert len(boxes) == len(lines) > 15
        labels, _ = regions.components(on)
        for (left, top, right, bottom), line in zip(boxes, lines, strict=True):
            paper = np.zeros(on.shape, np.uint8)
            cv2.fillPoly(paper, [line], 1)
            region = labels == labels[line[0, 1], line[0, 0]]
            assert np.array_equal(paper > 0, ndimage.binary_fill_holes(region))
            assert (*line.min(0), *(line.max(0) + 1)) == (left, top, right, bottom)

    def test_a_ring_has_one_outline(self) -> None:
        ring = flags("###", "#.#", "###")
        (line,) = regions.contours(ring)
        assert sorted(line.tolist()) == [[0, 0], [0, 2], [2, 0], [2, 2]]

    def test_outlines_are_of_flat_masks(self) -> None:
        with pytest.raises(gh.InputError, match=r"shape \(2, 2, 2\).*boxes are of any rank"):
            regions.contours(np.ones((2, 2, 2), bool))


class TestOfAnExplanation:
    def test_a_batch_of_tensors(self) -> None:
        result = gh.explain(gap_linear(), images(2, (8, 12)), "1")
        masks = result.mask(0.3)
        assert [one.shape for one in masks] == [(8, 12)] * 2
        for one, heat in zip(masks, result.maps.numpy(), strict=True):
            assert np.array_equal(one, heat >= np.float32(0.3))
        boxes, lines = result.boxes(0.3), result.contours(0.3)
        assert boxes == [regions.boxes(one) for one in masks]
        assert [len(one) for one in lines] == [len(one) for one in boxes]

    def test_several_targets(self) -> None:
        result = gh.explain(gap_linear(), images(2, (8, 12)), "1", target=gh.TopK(3))
        masks, boxes = result.mask(method="otsu"), result.boxes(method="otsu", min_area=2)
        assert [one.shape for one in masks] == [(3, 8, 12)] * 2
        assert [len(one) for one in boxes] == [3, 3]
        assert boxes[1][2] == regions.boxes(masks[1][2], min_area=2)
        assert len(result.contours()[0]) == 3

    def test_pictures_of_several_sizes_through_a_crop(self) -> None:
        photos = [data.coffee(), data.chelsea()]
        crop = gh.Preprocess(size=(32, 32), fit="crop", resize=32)
        result = gh.explain(gap_linear().float(), photos, "1", preprocess=crop)
        masks = result.mask(method="quantile", quantile=0.8)
        assert [one.shape for one in masks] == [photo.shape[:2] for photo in photos]
        assert result.pictures is not None
        for one, picture in zip(masks, result.pictures, strict=True):
            seen = picture.geometry.seen_mask()
            assert not one[~seen].any()
            # a fifth of what was seen; of the whole picture it would be more
            assert one[seen].mean() == pytest.approx(0.2, abs=0.01)
        for i, found in enumerate(result.boxes()):
            left, top, right, bottom = result.pictures[i].geometry.seen
            for box in found:
                assert left <= box[0] < box[2] <= right
                assert top <= box[1] < box[3] <= bottom

    @pytest.mark.parametrize("rank", [1, 3])
    def test_signals_and_volumes(self, rank: int) -> None:
        convolution = {1: torch.nn.Conv1d, 3: torch.nn.Conv3d}[rank]
        pool = {1: torch.nn.AdaptiveAvgPool1d, 3: torch.nn.AdaptiveAvgPool3d}[rank]
        torch.manual_seed(0)
        net = torch.nn.Sequential(convolution(1, 4, 3, padding=1), pool(1), torch.nn.Flatten())
        result = gh.explain(net, torch.rand(2, 1, *[9] * rank), "0", target=1)
        masks = result.mask(0.6)
        assert [one.shape for one in masks] == [(9,) * rank] * 2
        assert result.boxes(0.6) == [regions.boxes(one) for one in masks]
        assert all(len(box) == 2 * rank for found in result.boxes(0.6) for box in found)
        with pytest.raises(gh.InputError, match="boxes are of any rank"):
            result.contours()

    def test_a_blank_map_has_no_region(self) -> None:
        result = gh.explain(gap_linear(), images(1), "1")
        result.maps.zero_()
        assert not result.mask(0)[0].any()
        assert result.boxes(0) == [[]]
        assert result.boxes(method="otsu") == [[]]
        assert result.contours(method="quantile") == [[]]

    def test_a_mask_that_cannot_be(self) -> None:
        result = gh.explain(gap_linear(), images(1), "1")
        for ask in (result.mask, result.boxes, result.contours):
            with pytest.raises(gh.InputError, match="a number from 0 to 1, not 50"):
                ask(50)
