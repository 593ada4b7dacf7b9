"""Bands: numbers beyond eight bits and three colours, as a network of as many channels is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import gradcam_hooks as gh
from gradcam_hooks.apps.cli import app
from gradcam_hooks.images.bands import bands_of
from gradcam_hooks.models.presets import own_preprocess

SIZE = (16, 20)
NET = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(5, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
"""


def plain(channels: int) -> gh.Preprocess:
    return gh.Preprocess(size=SIZE, mean=(0.0,) * channels, std=(1.0,) * channels)


def numbers(channels: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 65536, (channels, *SIZE), np.uint16)


def net(channels: int) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    )


def test_sixteen_bits_of_grey_reach_the_network(tmp_path: Path) -> None:
    deep = np.arange(320, dtype=np.uint16).reshape(SIZE) + 30000  # two levels of eight bits
    Image.fromarray(deep).save(tmp_path / "scan.png")
    pixels, _ = plain(1)(gh.load_image(tmp_path / "scan.png"))
    assert np.allclose(pixels[0].numpy() * 65535, deep, atol=0.01)


@pytest.mark.parametrize("channels", [5, 12])
@pytest.mark.parametrize("way", ["first.npy", "last.npy", "last.tif", "planes.tif", "pages.tif"])
def test_bands_are_read_in_any_order(tmp_path: Path, channels: int, way: str) -> None:
    values, path = numbers(channels), tmp_path / way
    last = np.ascontiguousarray(values.transpose(1, 2, 0))
    if path.suffix == ".npy":
        np.save(path, values if way == "first.npy" else last)
    else:
        tifffile = pytest.importorskip("tifffile")
        config = {"last.tif": "contig", "planes.tif": "separate"}.get(way)
        how = {} if config is None else {"planarconfig": config}
        given = last if config == "contig" else values
        tifffile.imwrite(path, given, photometric="minisblack", **how)
    expected = torch.from_numpy(values.astype(np.float32) / np.float32(65535))
    model = net(channels)
    result = gh.explain(model, path, "0", preprocess=plain(channels))
    assert torch.allclose(result.raw, gh.explain(model, expected[None], "0").raw, atol=1e-6)
    assert result.overlay().size == (20, 16)
    small = gh.Preprocess((8, 8), "crop", 9, plain(channels).mean, plain(channels).std)
    assert small(gh.load_image(path))[0].shape == (channels, 8, 8)
    broad = gh.Preprocess((20, 20), "letterbox", None, plain(channels).mean, plain(channels).std)
    assert not broad(gh.load_image(path))[0][:, 0].any()


def test_the_channels_are_read_off_the_network(tmp_path: Path) -> None:
    for channels in (1, 4, 5, 12):
        own, told = own_preprocess(net(channels))
        assert len(own.mean) == channels
        assert "assumed" in told
    rgba = np.random.default_rng(0).integers(0, 256, (*SIZE, 4), np.uint8)
    Image.fromarray(rgba).save(tmp_path / "four.png")
    pixels, _ = plain(4)(gh.load_image(tmp_path / "four.png"))
    assert torch.equal(pixels, torch.from_numpy(rgba).permute(2, 0, 1) / 255)
    assert plain(3)(gh.load_image(tmp_path / "four.png"))[0].shape == (3, *SIZE)


def test_floats_are_given_as_they_are_and_shown_between_their_ends(tmp_path: Path) -> None:
    values = np.stack([np.linspace(-3, 7, 320).reshape(SIZE)] * 2).astype(np.float32)
    np.save(tmp_path / "two.npy", values)
    image = gh.load_image(tmp_path / "two.npy")
    assert (image.getpixel((0, 0)), image.getpixel((19, 15))) == ((0, 0, 0), (255, 255, 255))
    assert torch.equal(plain(2)(image)[0], torch.from_numpy(values))
    assert bands_of(gh.load_image(image)) is bands_of(image)


def test_other_channels_than_the_networks_are_told(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", numbers(5))
    with pytest.raises(gh.InputError, match=r"has 5 channels, and the network takes 3"):
        plain(3)(gh.load_image(tmp_path / "a.npy"))
    with pytest.raises(gh.InputError, match=r"has 3 channels, and the network takes 5.*npy"):
        plain(5)(Image.new("RGB", (20, 16)))


@pytest.mark.parametrize(
    ("held", "told"),
    [
        (np.zeros((2, 2, 2, 2)), r"shape \(2, 2, 2, 2\); expected"),
        (np.full((4, 4), np.nan), "NaN or infinite"),
        (np.zeros((3, 3), complex), "holds complex128"),
        (np.array([{}]), "no array of numbers"),
    ],
)
def test_arrays_that_are_no_picture_are_refused(tmp_path: Path, held, told: str) -> None:
    np.save(tmp_path / "a.npy", held, allow_pickle=True)
    with pytest.raises(gh.ImageError, match=told):
        gh.load_image(tmp_path / "a.npy")
    np.save(tmp_path / "large.npy", np.zeros((40, 40)))
    with pytest.raises(gh.ImageError, match="too large"):
        gh.load_image(tmp_path / "large.npy", max_pixels=90)


def test_the_command_explains_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", numbers(5))
    (tmp_path / "nets.py").write_text(NET)
    words = ["explain", tmp_path / "a.npy", "--model", f"{tmp_path / 'nets.py'}:build"]
    words += ["--size", "16x20", "--out", tmp_path / "out", "--method", "gradcam,layercam"]
    ran = CliRunner().invoke(app, list(map(str, words)))
    assert ran.exit_code == 0, ran.output
    assert "1 explained" in ran.output
