"""Files that call themselves pictures: refused in a line, at once, and without another program."""

from __future__ import annotations

import io
import os
import pickle
import socket
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gradcam_hooks import ImageError, load_image
from gradcam_hooks.images import list_images, write_whole
from gradcam_hooks.images.bands import bands_of
from gradcam_hooks.images.files import no_file, read_text, readable_formats
from tests.support.fuzz import damage, hurt, many, outcome
from tests.support.runs_on_disk import noise

EPS = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n"
posix = pytest.mark.skipif(os.name != "posix", reason="links and pipes as POSIX has them")


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A folder in which nothing that has a picture's name is one, but for the last."""
    os.mkfifo(tmp_path / "1 pipe.png")
    (tmp_path / "2 loop.png").symlink_to(tmp_path / "2 loop.png")
    (tmp_path / "3 nowhere.png").symlink_to("/nowhere.png")
    (tmp_path / "4 device.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(tmp_path / "5 socket.png"))
    (tmp_path / "6 folder.png").mkdir()
    noise(tmp_path / "7.png")
    return tmp_path


@posix
def test_what_is_no_file_is_listed_and_told_not_opened(odd):
    told = [
        "is a pipe, expected one picture",
        "which leads nowhere, expected one picture",
        "is a link to '/nowhere.png', which leads nowhere",
        "is a device, expected one picture",
        "is a socket, expected one picture",
    ]
    *others, last = list_images([odd])
    assert last == odd / "7.png"
    for path, words in zip(others, told, strict=True):
        assert list_images([path]) == [path]
        with pytest.raises(ImageError, match=f"'{path}' .*{words}"):
            load_image(path)
    assert no_file(odd / "6 folder.png") == "is a folder"
    assert no_file(last) == ""


@posix
def test_a_text_that_is_no_file_is_not_waited_for(odd):
    for name, words in {"1 pipe.png": "is a pipe", "4 device.png": "is a device"}.items():
        with pytest.raises(ValueError, match=words):
            read_text(odd / name)
    with pytest.raises(FileNotFoundError):
        read_text(odd / "nothing.txt")


def test_a_text_too_long_is_not_read(tmp_path):
    with (tmp_path / "a.txt").open("wb") as file:
        file.truncate(200_000_000)  # a hole: it takes no room
    with pytest.raises(ValueError, match="more than 100,000,000 bytes"):
        read_text(tmp_path / "a.txt")


@posix
def test_a_link_in_a_circle_is_not_replaced(odd):
    with pytest.raises(OSError, match="leads back to itself"), write_whole(odd / "2 loop.png"):
        pytest.fail("nothing is to be written")
    assert (odd / "2 loop.png").is_symlink()


def test_formats_of_other_programs_are_none_whatever_their_suffix(tmp_path, monkeypatch):
    """A program called gs stands first in the path, and is not called."""
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch '{tmp_path / 'called'}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    for name in ("a.png", "a.eps"):
        (tmp_path / name).write_text(EPS)
        with pytest.raises(ImageError, match="is no picture that Pillow knows"):
            load_image(tmp_path / name)
    with (
        Image.open(tmp_path / "a.eps") as opened,
        pytest.raises(ImageError, match=r"a\.eps' is EPS, which Pillow hands to another program"),
    ):
        load_image(opened)
    assert not (tmp_path / "called").exists()
    assert not {"EPS", "WMF", "MPEG"} & set(readable_formats())


def test_a_bomb_is_told_by_its_head_alone(tmp_path):
    path = tmp_path / "bomb.png"
    Image.new("1", (10_000, 7_000)).save(path)
    assert path.stat().st_size < 20_000
    with pytest.raises(ImageError, match="10000 x 7000 pixels, and 64,000,000 are the limit"):
        load_image(path)
    with pytest.raises(ImageError, match=r"allow more: --max-pixels; in Python max_pixels="):
        load_image(path, max_pixels=69_999_999)


def test_the_limits_are_exact_in_pixels_and_bytes(tmp_path):
    path = noise(tmp_path / "a.png", size=(4, 5))
    assert load_image(path, max_pixels=20).size == (5, 4)
    with pytest.raises(ImageError, match="5 x 4 pixels, and 19 are the limit"):
        load_image(path, max_pixels=19)
    Image.new("RGB", (1, 1)).save(path)
    with path.open("ab") as file:
        file.truncate(320)
    assert load_image(path, max_pixels=20).size == (1, 1)
    with path.open("ab") as file:
        file.truncate(321)
    with pytest.raises(ImageError, match="321 bytes, and 320 are the limit"):
        load_image(path, max_pixels=20)


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1)])
def test_thin_pictures_are_pictures(size, tmp_path):
    Image.new("L", size, 7).save(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png").size == size


def encoded(kind: str, mode: str = "RGB") -> bytes:
    """A small picture of that format."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    if kind == "NPY":
        np.save(file := io.BytesIO(), pixels)
        return file.getvalue()
    options = {"TIFF": {"compression": "tiff_lzw"}}.get(kind, {})
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind, **options)
    return file.getvalue()


WHOLE = {
    kind: encoded(kind, {"GIF": "P", "PCX": "P"}.get(kind, "RGB"))
    for kind in (
        "PNG",
        "JPEG",
        "GIF",
        "BMP",
        "TIFF",
        "WEBP",
        "PPM",
        "ICO",
        "TGA",
        "PCX",
        "ICNS",
        "NPY",
    )
}


def npy(shape: str, descr: str = "<f8", body: bytes = b"1" * 128) -> bytes:
    """An array's file, of whatever shape it claims."""
    head = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head + body


ARRAYS = {
    "huge": (npy("(3000000, 3000000)"), "no array of numbers that NumPy reads"),
    "beyond 64 bits": (npy(f"({10**30}, 4)"), "no array of numbers that NumPy reads"),
    "no numbers": (npy("(True, 4)"), "no array of numbers that NumPy reads"),
    "deep": (npy("(" * 9000), "no array of numbers that NumPy reads"),
    "large": (npy("(4, 4)", body=struct.pack("<d", 1e300) * 16), "NaN or infinite"),
    "complex": (npy("(4, 4)", "<c8"), "holds complex64 of shape"),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_an_array_that_is_none_is_told(case, tmp_path):
    data, words = ARRAYS[case]
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(ImageError, match=rf"a\.npy' .*{words}"):
        load_image(tmp_path / "a.npy")


class Runs:
    """What a pickle runs when it is read by a reader that trusts it."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return self.trace.touch, ()


def test_no_code_in_an_array_is_run(tmp_path):
    objects, plain = tmp_path / "objects.npy", tmp_path / "plain.npy"
    np.save(objects, np.array([Runs(tmp_path / "ran")], dtype=object), allow_pickle=True)
    plain.write_bytes(pickle.dumps(Runs(tmp_path / "ran")))
    for path in (objects, plain):
        with pytest.raises(ImageError, match="no array of numbers that NumPy reads"):
            load_image(path)
    np.savez(tmp_path / "a.npz", a=np.zeros((4, 4)))
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(ImageError, match=r"a\.npy' is an archive of arrays"):
        load_image(tmp_path / "a.npy")
    assert not (tmp_path / "ran").exists()


def test_a_tiff_is_no_larger_unpacked_than_a_file_may_be(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((5, 40, 40)), photometric="minisblack", compression="zlib",
                     planarconfig="separate")  # fmt: skip
    assert path.stat().st_size < 2000
    assert load_image(path, max_pixels=4000).size == (40, 40)  # 64,000 bytes, 16 for each pixel
    with pytest.raises(ImageError, match="too large to be read safely"):
        load_image(path, max_pixels=3999)


def test_pages_beyond_number_are_not_grouped(tmp_path, monkeypatch):
    tifffile = pytest.importorskip("tifffile")
    monkeypatch.setattr("gradcam_hooks.images.bands._PAGES", 8)  # thousands take minutes
    for pages, found in ((8, (8, 1, 2)), (9, None)):
        with tifffile.TiffWriter(tmp_path / "a.tif") as file:
            for _ in range(pages):
                file.write(np.zeros((1, 2), np.uint8), photometric="minisblack", metadata=None)
        bands = bands_of(load_image(tmp_path / "a.tif"))
        assert (None if bands is None else bands.values.shape) == found


def test_pages_that_are_no_numbers_are_told(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    pages = np.zeros((3, 8, 9), np.float32)
    pages[1, 2, 3] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack")
    with pytest.raises(ImageError, match="NaN or infinite"):
        load_image(tmp_path / "a.tif")


@pytest.mark.filterwarnings("ignore")  # Pillow warns of odd metadata in many words
@many
@given(st.sampled_from(sorted(WHOLE)), damage)
def test_a_damaged_picture_is_read_or_told(tmp_path, kind, wounds):
    path = tmp_path / f"a.{kind.lower()}"
    path.write_bytes(hurt(WHOLE[kind], wounds))
    image, _ = outcome(ImageError, load_image, path)
    assert image is None or image.mode == "RGB"
