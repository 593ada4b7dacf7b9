"""Scans: NIfTI and DICOM with their own values and places, onto networks of volumes and slices."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from typer.testing import CliRunner

import gradcam_hooks as gh
from gradcam_hooks.apps.cli import app
from gradcam_hooks.images.bands import bands_of

nibabel = pytest.importorskip("nibabel")
pydicom = pytest.importorskip("pydicom")

AFFINE = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -100], [0, 0, 3, -50], [0, 0, 0, 1]])  # LAS

NETS = """
import torch
from torch import nn

def made(first, pool):
    torch.manual_seed(0)
    net = nn.Sequential(first, nn.ReLU(), pool, nn.Flatten(), nn.Linear(3, 2))
    for tensor in (first.weight, net[-1].weight):
        tensor.data.abs_()  # so that no map is blank
    return net

def volumes():
    return made(nn.Conv3d(1, 3, 3, stride=2, padding=1), nn.AdaptiveAvgPool3d(1))

def pictures():
    return made(nn.Conv2d(1, 3, 3, stride=2, padding=1), nn.AdaptiveAvgPool2d(1))
"""


def net(kind: str) -> nn.Module:
    space: dict[str, object] = {}
    exec(NETS, space)
    return space[kind]()  # type: ignore[no-any-return,operator]


@pytest.fixture
def nifti(tmp_path: Path) -> Path:
    """12 x 14 x 10 voxels of 16 bits with slope and intercept, of which four are very bright."""
    stored = np.random.default_rng(0).integers(0, 200, (12, 14, 10)).astype(np.int16)
    stored[4:6, 9:11, 3] = 3000
    image = nibabel.Nifti1Image(stored, AFFINE)
    image.header.set_slope_inter(2, -1024)
    nibabel.save(image, tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def values(path: Path) -> npt.NDArray[np.float64]:
    """What nibabel itself reads."""
    found: npt.NDArray[np.float64] = nibabel.load(path).get_fdata()
    return found


def series(folder: Path) -> npt.NDArray[np.float64]:
    """pydicom's own slice four times, displaced, in files of disordered names; their values."""
    one = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm", download=False))
    folder.mkdir()
    there = []
    for number in range(4):
        data = copy.deepcopy(one)
        stored = np.roll(one.pixel_array, 10 * number, 0)
        data.PixelData = stored.tobytes()
        data.ImagePositionPatient = [-10, -20, 50 - 2.5 * number]
        data.SOPInstanceUID += f".{number}"
        data.WindowCenter, data.WindowWidth = 40, 400
        data.save_as(folder / f"IM{3 * number % 4}")
        there.append(stored * float(one.RescaleSlope) + float(one.RescaleIntercept))
    return np.stack(there[::-1])  # from inferior to superior


def test_a_volume_goes_in_with_its_own_values_and_its_map_comes_out_on_its_grid(
    nifti: Path, tmp_path: Path
) -> None:
    model, expected = net("volumes"), values(nifti)
    result = gh.explain(model, nifti)
    told = " ".join(result.notes)
    assert "axes LAS" in told
    assert "values are -1024 to 4976, with slope 2 and intercept -1024" in told
    other = gh.explain(model, torch.from_numpy(expected).float()[None, None])
    assert torch.equal(result.maps, other.maps)
    assert 0 < float(result.maps.mean()) < 0.5
    saved = nibabel.load(result.save(tmp_path / "map.nii.gz"))
    assert np.array_equal(saved.affine, AFFINE)
    assert np.array_equal(saved.get_fdata().astype(np.float32), result.maps[0].numpy())


def crop(scan: Tensor) -> Tensor:
    return scan[:, 2:10, :, 3:9] / 1000


def resize_and_pad(scan: Tensor) -> Tensor:
    whole = (scan - scan.mean()) / scan.std()
    small = functional.interpolate(whole[None], (6, 28, 10), mode="trilinear")[0]
    return functional.pad(small, (2, 2, 0, 0, 3, 1))


def test_a_scan_that_nibabel_has_opened_is_the_one_in_its_file(nifti: Path, tmp_path: Path) -> None:
    model = net("volumes")
    expected = gh.explain(model, nifti)
    opened = gh.explain(model, nibabel.load(nifti))
    assert torch.equal(opened.maps, expected.maps)
    made = nibabel.Nifti1Image(values(nifti).astype(np.float32), AFFINE)  # in no file
    result = gh.explain(model, made)
    assert torch.equal(result.maps, expected.maps)
    saved = nibabel.load(result.save(tmp_path / "map.nii.gz"))
    assert np.array_equal(saved.affine, AFFINE)


@pytest.mark.parametrize(
    ("made", "scale", "offset"),
    [
        (lambda scan: scan.clamp(-100, 400), (1, 1, 1), (0, 0, 0)),
        (crop, (1, 1, 1), (2, 0, 3)),
        (resize_and_pad, (2, 0.5, 1), (-6, 0, -2)),
        (lambda scan: scan[:, ::2, ::2, ::2].numpy(), (2, 2, 2), (0, 0, 0)),
    ],
    ids=["windowed", "crop", "resize and pad", "every second"],
)
def test_where_ones_own_preprocessing_puts_a_scan(
    nifti: Path, tmp_path: Path, made: object, scale: object, offset: object
) -> None:
    result = gh.explain(net("volumes"), nifti, preprocess=made)
    assert result.pictures is not None
    place = result.pictures[0].place  # type: ignore[union-attr]
    assert place.scale == pytest.approx(scale)
    assert place.offset == pytest.approx(offset)
    saved = nibabel.load(result.save(tmp_path / "map.nii")).get_fdata()
    assert saved.shape == (12, 14, 10)
    if made is crop:  # by hand: outside of what was cropped nothing was seen
        whole = np.zeros((12, 14, 10), np.float32)
        whole[2:10, :, 3:9] = result.maps[0]
        assert np.abs(saved - whole).max() < 1e-6


@pytest.mark.parametrize(
    "made", [lambda scan: scan.flip(2), lambda scan: scan.transpose(1, 2), lambda scan: scan * 0]
)
def test_what_has_no_place_is_told(nifti: Path, made: object) -> None:
    with pytest.raises(gh.InputError, match=r"where the map lies on the scan cannot be told"):
        gh.explain(net("volumes"), nifti, preprocess=made)


def test_a_slice_lies_as_a_radiologist_sees_it_and_nothing_is_clipped(nifti: Path) -> None:
    scan, own = gh.load_scan(nifti), values(nifti)
    scaled = (own - own.min()) / (own.max() - own.min())
    seen = {  # LAS: columns lead to the left as the array does, anterior and superior go up
        (3, 0): scaled[:, :, 3].T[::-1],
        (9, 1): scaled[:, 9, :].T[::-1],
        (5, 2): scaled[5].T[::-1, ::-1],
    }
    for (number, axis), expected in seen.items():
        bands = bands_of(scan.slice(number, axis))
        assert bands is not None
        assert np.allclose(bands.values[0], expected, atol=1e-6)
    with pytest.raises(gh.InputError, match=r"has axial slices 0 to 9, and none 10"):
        scan.slice(10)


def test_slices_of_a_scan_are_saved_where_they_were_cut(nifti: Path, tmp_path: Path) -> None:
    scan = gh.load_scan(nifti)
    plain = gh.Preprocess(size=(14, 12), mean=(0.0,), std=(1.0,))
    result = gh.explain(net("pictures"), [scan.slice(3), scan.slice(7)], preprocess=plain)
    saved = nibabel.load(result.save(tmp_path / "map.nii.gz"))
    assert np.array_equal(saved.affine, AFFINE)
    voxels = saved.get_fdata()
    assert [k for k in range(10) if voxels[:, :, k].any()] == [3, 7]
    assert np.allclose(voxels[:, :, 3].T[::-1], result.maps[0], atol=1e-6)
    middle = gh.explain(net("pictures"), nifti, preprocess=plain)
    assert "the axial slice 5 of 0 to 9 was taken" in " ".join(middle.notes)


def test_a_series_of_dicom_is_put_in_order_by_where_its_slices_lie(tmp_path: Path) -> None:
    expected = series(tmp_path / "ct")
    scan = gh.load_scan(tmp_path / "ct")
    assert np.allclose(scan.values[0], expected)
    assert (scan.axes, scan.window) == ("SPL", (40.0, 400.0))
    # By hand: DICOM leads to left and posterior, so its first two axes change their sign.
    assert np.allclose(scan.affine @ [0, 0, 0, 1], [10, 20, 42.5, 1])
    across = 0.661468
    assert np.allclose(scan.affine @ [3, 1, 2, 1], [10 - 2 * across, 20 - across, 50, 1])
    result = gh.explain(net("volumes"), tmp_path / "ct")
    assert result.maps.shape == (1, 4, 128, 128)
    windowed = scan.windowed(40, 400)
    assert np.allclose(windowed.values[0], ((expected + 160) / 400).clip(0, 1), atol=1e-6)
    (tmp_path / "ct" / "other").write_bytes(
        Path(pydicom.data.get_testdata_file("MR_small.dcm", download=False)).read_bytes()
    )
    with pytest.raises(gh.ImageError, match=r"holds 2 series of DICOM"):
        gh.load_scan(tmp_path / "ct")


def test_one_dicom_file_is_a_picture_as_it_is_stored() -> None:
    path = Path(pydicom.data.get_testdata_file("CT_small.dcm", download=False))
    stored = pydicom.dcmread(path).pixel_array.astype(np.float64)
    with path.open("rb") as file:
        for given in (path, path.read_bytes(), file):
            bands = bands_of(gh.load_image(given))
            assert bands is not None
            expected = (stored - stored.min()) / (stored.max() - stored.min())
            assert np.allclose(bands.values[0], expected, atol=1e-6)


def test_frames_and_palettes_of_dicom_are_what_pydicom_makes_of_them() -> None:
    path = pydicom.data.get_testdata_file("examples_ybr_color.dcm", download=False)
    frames = pydicom.dcmread(path).pixel_array  # in RGB
    scan = gh.load_scan(path)
    assert scan.values.shape == (3, 30, 240, 320)
    assert np.array_equal(scan.values, np.moveaxis(frames, 3, 0))
    path = pydicom.data.get_testdata_file("examples_palette.dcm", download=False)
    data = pydicom.dcmread(path)
    colours = pydicom.pixels.apply_color_lut(data.pixel_array, data)
    assert colours.max() > 255  # of 16 bits
    seen = np.asarray(gh.load_image(path).convert("RGB"))
    assert np.abs(seen - colours / 65535 * 255).max() <= 1


@pytest.mark.parametrize("name", ["rtplan.dcm", "MR_truncated.dcm", "no_meta.dcm", "DICOMDIR"])
def test_dicom_that_is_no_picture_is_told_in_a_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(Path(pydicom.data.get_testdata_file(name, download=False)).read_bytes())
    with pytest.raises(gh.ImageError, match=r"a\.dcm' (is no DICOM|holds)") as told:
        gh.load_image(path)
    assert "\n" not in str(told.value)


def test_hostile_scans_are_told_in_a_line(nifti: Path, tmp_path: Path) -> None:
    whole = nibabel.load(nifti)
    whole.to_filename(tmp_path / "a.nii")
    data = bytearray((tmp_path / "a.nii").read_bytes())
    for name, content, told in [
        ("cut", data[:-900], "cut short or damaged"),
        ("empty", b"", "is empty"),
        ("text", b"hello" * 200, "is no scan that nibabel reads"),
        ("huge", data[:42] + b"\xff\x7f" * 3 + data[48:], "too large to be read safely"),
    ]:
        path = tmp_path / f"{name}.nii"
        path.write_bytes(content)
        with pytest.raises(gh.ImageError, match=told) as error:
            gh.load_scan(path)
        assert "\n" not in str(error.value)
    with pytest.raises(gh.ImageError, match="420 voxels are the limit"):
        gh.load_scan(nifti, max_pixels=105)
    slow = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm", download=False))
    slow.Rows = slow.Columns = 60000
    slow.save_as(tmp_path / "huge.dcm")
    with pytest.raises(gh.ImageError, match="too large to be read safely: 3,600,000,000 values"):
        gh.load_image(tmp_path / "huge.dcm")


def test_a_picture_is_no_volume() -> None:
    from PIL import Image

    with pytest.raises(gh.InputError, match=r"takes volumes \(1, depth, height, width\)"):
        gh.explain(net("volumes"), Image.new("RGB", (20, 20)))


def command(folder: Path, builder: str, *words: object) -> list[dict[str, object]]:
    (folder / "nets.py").write_text(NETS)
    asked = ["explain", *words, "--model", f"{folder / 'nets.py'}:{builder}", "--out"]
    done = CliRunner().invoke(app, [*map(str, asked), str(folder / "out")], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    return list(map(json.loads, (folder / "out" / "results.jsonl").read_text().splitlines()))


def test_the_command_writes_maps_of_scans_in_their_own_space(nifti: Path, tmp_path: Path) -> None:
    series(tmp_path / "ct")
    (tmp_path / "notes.txt").write_text("of the patient")
    records = command(tmp_path, "volumes", nifti, tmp_path / "ct", "--size", "6x12x12")
    assert [Path(str(one["file"])).name for one in records] == ["scan.nii.gz", "ct"]
    out = tmp_path / "out"
    assert (out / "report.html").is_file()
    for name, shape in (("scan", (12, 14, 10)), ("ct", (4, 128, 128))):
        assert nibabel.load(out / f"maps/{name}.nii.gz").shape == shape
    assert np.array_equal(nibabel.load(out / "maps/scan.nii.gz").affine, AFFINE)


def test_the_command_gives_a_network_of_pictures_the_slice_that_is_asked(
    nifti: Path, tmp_path: Path
) -> None:
    words = ("--slice", 3, "--window", "0,2000", "--size", "14x12")
    command(tmp_path, "pictures", nifti, *words)
    voxels = nibabel.load(tmp_path / "out/maps/scan.nii.gz").get_fdata()
    assert [k for k in range(10) if voxels[:, :, k].any()] == [3]
