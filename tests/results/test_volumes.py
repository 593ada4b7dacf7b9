"""Volumes and videos: slices, montages, moving pictures, and NIfTI that lies with its scan."""

from __future__ import annotations

import dataclasses
import gzip
import os
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

import gradcam_hooks as gh
from gradcam_hooks.images.colors import colorize
from gradcam_hooks.images.nifti import save_nifti
from gradcam_hooks.results.drawing.volumes import chosen
from tests.support.fuzz import damage, hurt, many

CYAN = (0, 255, 255)


def explained(volume: Tensor, heat: Tensor | None = None, **how: object) -> gh.Explanation:
    """A real explanation of volumes ``(batch, channels, *space)``, with maps put in."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv3d(volume.shape[1], 4, 3, padding=1), nn.AdaptiveAvgPool3d(1), nn.Flatten()
    )
    result = gh.explain(net, volume, "0", **how)
    return result if heat is None else dataclasses.replace(result, maps=heat)


def spot(shape: tuple[int, ...], *place: int) -> Tensor:
    """A map ``(1, *shape)`` that is 1 at one place."""
    heat = torch.zeros(1, *shape)
    heat[(0, *place)] = 1
    return heat


def near(pixels: object, colour: object) -> npt.NDArray[np.bool_]:
    return (np.abs(np.asarray(pixels, np.float64) - colour) <= 1).all(-1)


class TestSlices:
    """One slice, drawn as a picture is."""

    def test_the_colours_by_hand(self) -> None:
        given = np.full((2, 130, 140), 0.5, np.float32)
        result = explained(torch.zeros(1, 1, 2, 130, 140), spot((2, 130, 140), 1, 10, 20))
        drawn = np.asarray(result.overlay(given, slice=1, alpha=0.25, opacity="even"))
        assert drawn.shape == (130, 140, 3)  # its own size
        ends = colorize(np.array([0.0, 1.0]))
        expected = np.floor((0.75 * 0.5 + 0.25 * ends) * 255 + 0.5)
        assert np.array_equal(drawn[10, 20], expected[1])
        assert np.array_equal(drawn[0, 0], expected[0])
        assert near(drawn, expected[1]).sum() == 1
        assert not near(
            result.overlay(given, slice=0, alpha=0.25, opacity="even"), expected[1]
        ).any()

    def test_rows_are_height_and_columns_width_also_enlarged(self) -> None:
        result = explained(torch.zeros(1, 1, 4, 10, 16), spot((4, 10, 16), 2, 3, 5))
        drawn = result.overlay(slice=2, alpha=1, opacity="even")
        assert drawn.size == (16 * 13, 10 * 13)  # 130 is the first multiple of 10 from 128 up
        hot = np.argwhere(near(drawn, colorize(np.ones(1))[0] * 255))
        assert hot.min(0).tolist() == [3 * 13, 5 * 13]
        assert hot.max(0).tolist() == [4 * 13 - 1, 6 * 13 - 1]

    @pytest.mark.parametrize(("axis", "order"), [(1, (1, 0, 2)), (2, (2, 0, 1))])
    def test_across_another_axis(self, axis: int, order: tuple[int, ...]) -> None:
        volume = torch.rand(1, 1, 6, 8, 10)
        result = explained(volume)
        turned = dataclasses.replace(
            result,
            image=volume.permute(0, 1, *(2 + i for i in order)),
            maps=result.maps.permute(0, *(1 + i for i in order)),
        )
        across = np.asarray(result.overlay(slice=3, axis=axis))
        assert np.array_equal(across, np.asarray(turned.overlay(slice=3)))

    def test_a_negative_number_counts_from_the_end(self) -> None:
        result = explained(torch.rand(1, 1, 6, 8, 10))
        last, five = (np.asarray(result.overlay(slice=one)) for one in (-1, 5))
        assert np.array_equal(last, five)

    def test_one_bright_voxel_does_not_darken_the_rest(self) -> None:
        volume = torch.linspace(0, 1, 1000).reshape(1, 1, 10, 10, 10)
        outshone = volume.clone()
        outshone[0, 0, 0, 0, 0] = 1e4
        plain, clipped = (
            np.asarray(explained(one).overlay(slice=5, alpha=0), int) for one in (volume, outshone)
        )
        assert np.abs(plain - clipped).max() <= 3
        assert plain.mean() > 100

    def test_a_video_keeps_its_colours(self) -> None:
        video = torch.zeros(1, 3, 2, 130, 130)
        video[0, 0, 1] = 1  # the second frame is red
        drawn = np.asarray(explained(video).overlay(slice=1, alpha=0))
        assert np.array_equal(drawn[0, 0], (255, 0, 0))

    def test_regions_are_cut_in_the_volume(self) -> None:
        heat = torch.zeros(1, 6, 10, 10)
        heat[0, 2:4, 2:6, 3:8] = 1
        heat[0, 5, 0, 0] = 0.4  # less than the cut of the whole, though the most of its slice
        result = explained(torch.zeros(1, 1, 6, 10, 10), heat)
        for number in range(6):
            drawn = np.asarray(result.overlay(slice=number, boxes=True, alpha=0))
            cyan = np.argwhere((drawn == CYAN).all(2))
            assert bool(len(cyan)) == (number in (2, 3))
            if len(cyan):
                assert cyan.min(0).tolist() == [2 * 13, 3 * 13]
                assert cyan.max(0).tolist() == [6 * 13 - 1, 8 * 13 - 1]
        outlined = np.asarray(result.overlay(slice=2, contours=True, alpha=0))
        assert (outlined == 255).all(2).any()

    @pytest.mark.parametrize(
        ("how", "message"),
        [
            ({"slice": 6}, "slice= goes from 0 to 5 across this axis; got 6"),
            ({"slice": [0, 9]}, "got 9"),
            ({"slice": "most"}, "a number, a list of numbers, 'even' or 'mass'; got 'most'"),
            ({"slice": []}, r"got \[\]"),
            ({"axis": 3}, r"0 \(depth\), 1 \(height\) or 2 \(width\), not 3"),
            ({"axes": gh.Axes(rate=3)}, "axes= are of signals and pictures"),
            ({"image": np.zeros((6, 10, 8))}, r"shape \(6, 10, 8\) and the map \(6, 8, 10\)"),
            ({"image": "scan.nii"}, r"\(depth, height, width\).* not on str"),
            ({"image": np.full((6, 8, 10), 900.0)}, r"must lie in \[0, 1\]"),
        ],
        ids=["slice", "slices", "word", "none", "axis", "ticks", "shape", "path", "range"],
    )
    def test_what_there_is_not(self, how: dict[str, object], message: str) -> None:
        with pytest.raises(gh.InputError, match=message):
            explained(torch.rand(1, 1, 6, 8, 10)).overlay(**how)

    def test_four_channels_are_no_picture_until_one_is_given(self) -> None:
        volume = torch.rand(1, 4, 6, 8, 10)
        result = explained(volume)
        with pytest.raises(gh.InputError, match=r"no volume to draw on.*result\.overlay\(volume\)"):
            result.overlay()
        assert result.overlay(volume[0, 1], slice=0).size == (160, 128)
        eight = (volume[0, 1].numpy() * 255).astype(np.uint8)
        assert result.overlay(eight, slice=0, alpha=0).getpixel((0, 0)) == (eight[0, 0, 0],) * 3


class TestMontages:
    """Several slices side by side."""

    def test_which_slices_by_hand(self) -> None:
        flat = np.ones((27, 2), np.float32)
        assert chosen("even", flat) == [1, 4, 7, 10, 13, 16, 19, 22, 25]
        assert chosen("mass", flat) == [1, 4, 7, 10, 13, 16, 19, 22, 25]
        assert chosen("even", flat[:4]) == [0, 1, 2, 3]
        peak = np.zeros((100, 1), np.float32)
        peak[40:49] = 1
        assert chosen("mass", peak) == list(range(40, 49))
        assert chosen("mass", 0 * peak) == chosen("even", peak)
        assert chosen([7, -1, 3], flat) == [7, 26, 3]

    def test_every_cell_is_that_slice(self) -> None:
        result = explained(torch.rand(1, 1, 6, 128, 128))
        montage = np.asarray(result.overlay(slice=[4, 1]))
        for place, number in enumerate((4, 1)):
            cell = montage[:128, place * 131 : place * 131 + 128]
            assert np.array_equal(cell, np.asarray(result.overlay(slice=number)))

    def test_nine_stand_in_a_square(self) -> None:
        result = explained(torch.rand(1, 1, 20, 128, 128))
        assert result.overlay().width == 3 * 128 + 2 * 3
        assert result.overlay(slice=range(20)).width == 5 * 128 + 4 * 3

    def test_pages_and_sheets_show_it(self) -> None:
        result = explained(torch.rand(2, 3, 4, 8, 8))
        assert result._repr_html_().count("<img") == 4
        assert result.overlay(caption=True).height > result.overlay().height


class TestMovingPictures:
    """A GIF goes from slice to slice."""

    def test_every_frame_is_its_slice(self, tmp_path: Path) -> None:
        ramp = torch.linspace(0, 1, 128)
        video = torch.stack([ramp.roll(9 * t).expand(3, 128, 128) for t in range(10)], 1)[None]
        result = explained(video)
        path = result.save(tmp_path / "x.gif", fps=8)
        with Image.open(path) as moving:
            assert moving.n_frames == 10
            assert moving.info["loop"] == 0
            stays = []
            for number in range(10):
                moving.seek(number)
                stays.append(moving.info["duration"])
                frame = np.asarray(moving.convert("RGB"), float)
                wrong = [
                    np.abs(frame - np.asarray(result.overlay(slice=other), float)).mean()
                    for other in range(10)
                ]
                assert np.argmin(wrong) == number
                assert wrong[number] < 6  # of 255: a palette of 256 colours
        assert sum(stays) == 1250  # ten frames at eight per second, in milliseconds
        assert set(stays) == {120, 130}

    def test_of_some_slices_and_across_another_axis(self, tmp_path: Path) -> None:
        result = explained(torch.rand(1, 1, 6, 8, 10))
        for name, how, count in [
            ("list", {"slice": [5, 0, 3]}, 3),
            ("axis", {"axis": 2}, 10),
            ("one", {"slice": 2}, 1),
            ("mass", {"slice": "mass"}, 1),
        ]:
            with Image.open(result.save(tmp_path / f"{name}.gif", **how)) as moving:
                assert moving.n_frames == count, name

    def test_a_flat_map_stands_still(self, tmp_path: Path) -> None:
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        with Image.open(gh.explain(net, torch.rand(1, 3, 8, 8)).save(tmp_path / "x.gif")) as one:
            assert one.n_frames == 1

    @pytest.mark.parametrize("fps", [0, -1, 51])
    def test_frames_per_second_have_a_range(self, tmp_path: Path, fps: float) -> None:
        with pytest.raises(gh.InputError, match="more than 0 and at most 50"):
            explained(torch.rand(1, 1, 3, 8, 8)).save(tmp_path / "x.gif", fps=fps)
        assert not list(tmp_path.iterdir())


class TestNifti:
    """The map lies where the scan does."""

    AFFINE = np.array(
        [[0.0, -2.0, 0.3, 40.0], [1.5, 0.0, 0.0, -25.0], [0.0, 0.4, 3.0, 7.0], [0, 0, 0, 1]]
    )

    @pytest.fixture
    def nibabel(self) -> object:
        return pytest.importorskip("nibabel", reason="nibabel is not installed")

    @staticmethod
    def result() -> gh.Explanation:
        return explained(torch.rand(1, 1, 6, 8, 10), spot((6, 8, 10), 1, 2, 3))

    @pytest.mark.parametrize("name", ["map.nii", "map.nii.gz"])
    def test_array_axes_and_affine_are_kept(self, nibabel, tmp_path: Path, name: str) -> None:
        scan = nibabel.Nifti1Image(np.zeros((6, 8, 10), np.int16), self.AFFINE)
        scan.header.set_xyzt_units("mm", "sec")
        scan.set_qform(self.AFFINE, code=1)
        scan.set_sform(self.AFFINE, code=2)
        scan.to_filename(tmp_path / "scan.nii.gz")
        written = nibabel.load(self.result().save(tmp_path / name, like=tmp_path / "scan.nii.gz"))
        data = written.get_fdata(dtype=np.float32)
        assert np.array_equal(data, self.result().maps[0].numpy())
        assert np.argwhere(data == 1).tolist() == [[1, 2, 3]]
        where = nibabel.affines.apply_affine(written.affine, [1, 2, 3])
        assert where == pytest.approx([40 - 4 + 0.9, -25 + 1.5, 7 + 0.8 + 9])  # by hand
        assert written.get_data_dtype() == np.float32
        assert written.header.get_sform(coded=True)[1] == 2
        assert written.header.get_qform(coded=True)[1] == 1
        assert written.header.get_xyzt_units() == ("mm", "sec")

    def test_an_affine_an_image_or_nothing(self, nibabel, tmp_path: Path) -> None:
        plain = nibabel.load(self.result().save(tmp_path / "a.nii"))
        assert np.array_equal(plain.affine, np.eye(4))
        given = nibabel.load(self.result().save(tmp_path / "b.nii", affine=self.AFFINE))
        assert given.affine == pytest.approx(self.AFFINE)
        four = nibabel.Nifti1Image(np.zeros((6, 8, 10, 5), np.float32), self.AFFINE)
        like = nibabel.load(self.result().save(tmp_path / "c.nii", like=four))
        assert like.shape == (6, 8, 10)
        assert like.affine == pytest.approx(self.AFFINE)

    def test_several_targets_lie_behind_space(self, nibabel, tmp_path: Path) -> None:
        several = explained(torch.rand(1, 1, 6, 8, 10), target=gh.TopK(3))
        written = nibabel.load(several.save(tmp_path / "x.nii"))
        assert written.shape == (6, 8, 10, 3)
        assert np.array_equal(written.get_fdata()[..., 2], several.maps[0, 2].numpy())

    def test_the_same_map_is_the_same_file(self, nibabel, tmp_path: Path) -> None:
        one, two = (self.result().save(tmp_path / f"{i}.nii.gz").read_bytes() for i in (1, 2))
        assert one == two
        assert gzip.decompress(one)[344:347] == b"n+1"  # NIfTI-1, one file

    @pytest.mark.parametrize(
        ("how", "message"),
        [
            ({"affine": np.eye(3)}, r"finite 4x4 matrix; got one of shape \(3, 3\)"),
            ({"affine": np.eye(4), "like": "scan.nii"}, "give one of them"),
            ({"like": np.eye(4)}, "a matrix goes to affine="),
            ({"like": (10, 8, 6)}, "axes were turned round"),
            ({"like": (12, 16, 20)}, r"map has the shape \(6, 8, 10\) and the scan \(12, 16, 20\)"),
        ],
        ids=["matrix", "both", "kind", "turned", "resampled"],
    )
    def test_what_does_not_fit(
        self, nibabel, tmp_path: Path, how: dict[str, object], message: str
    ) -> None:
        if isinstance(how.get("like"), tuple):
            how = {"like": nibabel.Nifti1Image(np.zeros(how["like"], np.float32), self.AFFINE)}
        with pytest.raises(gh.InputError, match=message):
            self.result().save(tmp_path / "x.nii.gz", **how)
        assert not list(tmp_path.iterdir())

    def test_scans_that_cannot_be_read(self, nibabel, tmp_path: Path) -> None:
        (tmp_path / "scan.nii").write_bytes(b"no scan at all")
        with pytest.raises(gh.ImageError, match=r"scam\.nii'; did you mean '.*scan\.nii'"):
            self.result().save(tmp_path / "x.nii", like=tmp_path / "scam.nii")
        with pytest.raises(gh.ImageError, match="no scan that nibabel reads"):
            self.result().save(tmp_path / "x.nii", like=tmp_path / "scan.nii")

    @many
    @given(st.booleans(), damage)
    def test_a_damaged_scan_is_read_or_told(self, nibabel, tmp_path: Path, packed, wounds) -> None:
        whole = nibabel.Nifti1Image(np.zeros((6, 8, 10), np.float32), self.AFFINE).to_bytes()
        path = tmp_path / ("scan.nii.gz" if packed else "scan.nii")
        # The head alone is read, and it is the first 352 bytes.
        path.write_bytes(hurt(gzip.compress(whole) if packed else whole[:704], wounds))
        with suppress(gh.ImageError, gh.InputError):
            save_nifti(tmp_path / "x.nii", np.zeros((6, 8, 10), np.float32), like=path)

    @pytest.mark.skipif(os.name != "posix", reason="pipes as POSIX has them")
    def test_a_pipe_is_not_waited_for(self, nibabel, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "scan.nii")
        with pytest.raises(gh.ImageError, match=r"scan\.nii' is a pipe, expected a scan"):
            self.result().save(tmp_path / "x.nii", like=tmp_path / "scan.nii")

    def test_one_volume_at_a_time_and_nothing_flat(self, nibabel, tmp_path: Path) -> None:
        with pytest.raises(gh.InputError, match=r"one volume.*\(2, 4, 4, 4\).*result\[0\]"):
            explained(torch.rand(2, 1, 4, 4, 4)).save(tmp_path / "x.nii")
        with pytest.raises(gh.InputError, match=r"for \.nii and \.nii\.gz, and this is 'x\.png'"):
            self.result().save(tmp_path / "x.png", affine=self.AFFINE)

    def test_without_nibabel_it_says_what_to_install(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "nibabel", None)
        with pytest.raises(ImportError, match=r"pip install nibabel"):
            self.result().save(tmp_path / "x.nii.gz")
        assert not list(tmp_path.iterdir())
        assert self.result().save(tmp_path / "x.npz").exists()
