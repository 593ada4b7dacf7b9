"""At its place: the map's peak falls on what the network looked at, on the picture as it was given.

A network whose map is the picture's brightness, cell by cell, is shown pictures with one bright
block; through every way of sizing and every EXIF orientation, from Python and from the command,
the peak on the original must lie on the block to within one cell of the layer, in original pixels.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import gradcam_hooks as gh
from gradcam_hooks.apps.cli import app
from gradcam_hooks.images import Geometry

CELL, SIDE, SHORTER = 8, 64, 80
DARK, BRIGHT = 40, 250
NET = """
import torch
from torch import nn

def build(num_classes=2):
    cells = nn.Conv2d(3, 1, 8, stride=8)
    net = nn.Sequential(
        cells, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, num_classes)
    )
    with torch.no_grad():
        cells.weight.fill_(1 / (3 * 8 * 8))
        cells.bias.fill_(-0.2)
        net[-1].weight.copy_(torch.tensor([[1.0], [-1.0]]))
        net[-1].bias.zero_()
    return net
"""
WAYS = {
    "squash": {"fit": "squash"},
    "crop": {"fit": "crop", "resize": SHORTER},
    "letterbox": {"fit": "letterbox"},
}
# Height, width and the block's (left, top, right, bottom), well within what every way shows.
PICTURES = {
    "landscape": ((240, 400), (250, 60, 290, 90)),
    "portrait": ((500, 260), (40, 150, 80, 190)),
    "odd": ((317, 451), (121, 203, 153, 229)),
    "smaller than the input": ((45, 39), (22, 12, 30, 19)),
}
# What a camera that was held so writes; the picture must be turned so to be upright.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def brightness() -> nn.Module:
    """The network of `NET`: class 0 is "bright", and its Grad-CAM at "0" is the brightness."""
    names: dict[str, object] = {}
    exec(NET, names)
    net = names["build"]()  # type: ignore[operator]
    assert isinstance(net, nn.Module)
    return net


def prepared(way: str) -> gh.Preprocess:
    return gh.Preprocess(size=(SIDE, SIDE), mean=(0, 0, 0), std=(1, 1, 1), **WAYS[way])


def upright(picture: str) -> tuple[Image.Image, tuple[int, int, int, int]]:
    (height, width), block = PICTURES[picture]
    pixels = np.full((height, width, 3), DARK, np.uint8)
    left, top, right, bottom = block
    pixels[top:bottom, left:right] = BRIGHT
    return Image.fromarray(pixels), block


def written(image: Image.Image, path: Path, orientation: int = 1) -> Path:
    """The picture as a camera stores it, with the tag that says how to turn it."""
    turn = STORED[orientation]
    stored = image if turn is None else image.transpose(turn)
    exif = Image.Exif()
    exif[274] = orientation
    stored.save(path, exif=exif)
    return path


def misses(peak: tuple[int, int], block: tuple[int, int, int, int]) -> tuple[float, float]:
    """How far a peak's pixel lies from the block: vertically and horizontally, in pixels."""
    left, top, right, bottom = block
    row, column = peak[0] + 0.5, peak[1] + 0.5
    return max(top - row, row - bottom, 0.0), max(left - column, column - right, 0.0)


def on_the_block(placed: np.ndarray, geometry: Geometry, block: tuple[int, int, int, int]) -> None:
    row, column = np.unravel_index(int(placed.argmax()), placed.shape)
    missed = misses((int(row), int(column)), block)
    cell = [CELL * scale for scale in geometry.scale]
    assert missed[0] < cell[0]
    assert missed[1] < cell[1]


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("way", WAYS)
def test_the_peak_lies_on_the_block(way: str, picture: str, tmp_path: Path) -> None:
    image, block = upright(picture)
    path = written(image, tmp_path / "photo.png")
    result = gh.explain(brightness(), path, "0", target=0, preprocess=prepared(way))
    assert result.diagnosis == ("ok",)
    assert result.pictures is not None
    geometry = result.pictures[0].geometry
    on_the_block(geometry.place(result.maps[0]), geometry, block)
    # the map on the original is highest within the block's own pixels, up to the layer's cells
    (left, top, right, bottom), *_ = result.boxes(0.6)[0]
    cell = [CELL * scale for scale in geometry.scale]
    assert left < block[2]
    assert right > block[0]
    assert top < block[3]
    assert bottom > block[1]
    for got, expected, scale in zip(
        (left, top, right, bottom), block, (cell[1], cell[0]) * 2, strict=True
    ):
        assert abs(got - expected) <= scale


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("way", WAYS)
def test_the_peak_lies_on_the_block_of_a_turned_photograph(
    way: str, orientation: int, tmp_path: Path
) -> None:
    image, block = upright("landscape")
    path = written(image, tmp_path / "photo.jpg", orientation)
    with Image.open(path) as stored:  # the file is really stored turned
        assert (stored.size != image.size) == (orientation >= 5)
    result = gh.explain(brightness(), path, "0", target=0, preprocess=prepared(way))
    assert result.overlay().size == image.size
    assert result.pictures is not None
    geometry = result.pictures[0].geometry
    on_the_block(geometry.place(result.maps[0]), geometry, block)


def test_the_proof_is_proven() -> None:
    # A map that is not brought back through the crop misses the block by more than a cell.
    image, block = upright("landscape")
    result = gh.explain(brightness(), image, "0", target=0, preprocess=prepared("crop"))
    assert result.pictures is not None
    geometry = result.pictures[0].geometry
    on_the_block(geometry.place(result.maps[0]), geometry, block)
    wrong = Geometry.stretched((240, 400), (SIDE, SIDE)).place(result.maps[0])
    with pytest.raises(AssertionError):
        on_the_block(wrong, geometry, block)


@pytest.mark.parametrize("way", WAYS)
def test_the_command_draws_it_there_too(way: str, tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(NET)
    torch.save(brightness().state_dict(), tmp_path / "net.pth")
    image, block = upright("landscape")
    photos = tmp_path / "photos"
    photos.mkdir()
    for orientation in STORED:
        written(image, photos / f"{orientation}.jpg", orientation)
    # Alone and in a colour map that gets lighter all the way, the overlay gives the map back.
    words = [
        "explain", photos, "--model", f"{tmp_path / 'nets.py'}:build",
        "--weights", tmp_path / "net.pth", "--layer", "0", "--target", "0", "--size", SIDE,
        "--mean", "0,0,0", "--std", "1,1,1", "--fit", way, "--alpha", "1", "--colormap", "bone",
        "--no-caption",
        "--out", tmp_path / "out",
    ]  # fmt: skip
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    lines = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    assert len(lines) == 8
    for record in map(json.loads, lines):
        geometry = Geometry.from_dict(record["geometry"])
        assert geometry.original == (240, 400)
        with Image.open(tmp_path / "out" / record["overlay"]) as overlay:
            assert overlay.size == image.size
            light = np.asarray(overlay).astype(float).sum(-1)
        left, top, right, bottom = (int(edge) for edge in geometry.seen)
        window = (slice(top + 2, bottom - 2), slice(left + 2, right - 2))
        inner = np.zeros_like(light)  # without the outline of what was seen, which is white
        inner[window] = light[window]
        on_the_block(inner, geometry, block)


def test_what_was_never_seen_is_the_original_and_outlined() -> None:
    from skimage import data

    photo = data.coffee()  # 400 by 600; the crop sees 320 by 320 in the middle
    result = gh.explain(brightness(), photo, "0", target=0, preprocess=prepared("crop"))
    drawn = np.asarray(result.overlay(opacity="even"))
    assert result.pictures is not None
    geometry = result.pictures[0].geometry
    assert geometry.seen == (140.0, 40.0, 460.0, 360.0)
    seen = geometry.seen_mask()
    assert seen.sum() == 320 * 320
    assert np.array_equal(drawn[~seen], photo[~seen])
    for edge in (
        drawn[40, 140:460], drawn[359, 140:460], drawn[40:360, 140], drawn[40:360, 459],
    ):  # fmt: skip
        assert (edge == 255).all()
    inside = drawn[42:358, 142:458]
    assert (inside != photo[42:358, 142:458]).any(-1).mean() > 0.99


@pytest.mark.parametrize("way", ["squash", "letterbox"])
def test_what_is_seen_whole_has_no_outline(way: str) -> None:
    image, _ = upright("landscape")
    result = gh.explain(brightness(), image, "0", target=0, preprocess=prepared(way))
    drawn = np.asarray(result.overlay(opacity="even"))
    assert not (drawn == 255).all(-1).any()
    assert (drawn != np.asarray(image)).any(-1).all()
