"""Pictures on disk are the pictures that were drawn, also in PDF and SVG."""

from __future__ import annotations

import base64
import io
import os
import re
import zlib
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from gradcam_hooks.errors import ImageError
from gradcam_hooks.images import save_image

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 45, 3), np.uint8)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "ppm"])
def test_a_picture_comes_back_as_it_was(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    save_image(path, Image.fromarray(PIXELS))
    assert np.array_equal(np.asarray(Image.open(path).convert("RGB")), PIXELS)


def test_a_page_of_pdf_holds_every_pixel(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    save_image(path, Image.fromarray(PIXELS))
    file = path.read_bytes()
    assert b"/MediaBox [0 0 45 30]" in file
    assert b"DCTDecode" not in file
    start = file.index(b"stream\n", file.index(b"/FlateDecode")) + len(b"stream\n")
    (length,) = re.findall(rb"/FlateDecode /Length (\d+)", file)
    pixels = zlib.decompress(file[start : start + int(length)])
    assert np.array_equal(np.frombuffer(pixels, np.uint8).reshape(PIXELS.shape), PIXELS)


def test_a_drawing_of_svg_holds_every_pixel(tmp_path: Path) -> None:
    path = tmp_path / "a.SVG"
    save_image(path, Image.fromarray(PIXELS))
    root = ElementTree.parse(path).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.get("viewBox") == "0 0 45 30"
    (image,) = root
    assert (image.get("width"), image.get("height")) == ("45", "30")
    head, _, data = image.get("href", "").partition(",")
    assert head == "data:image/png;base64"
    held = Image.open(io.BytesIO(base64.b64decode(data)))
    assert np.array_equal(np.asarray(held), PIXELS)


def test_the_table_of_a_pdf_points_at_its_objects(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    save_image(path, Image.fromarray(PIXELS))
    file = path.read_bytes()
    table = int(re.findall(rb"startxref\n(\d+)\n%%EOF", file)[0])
    assert file[table:].startswith(b"xref\n0 6\n")
    entries = re.findall(rb"(\d{10}) 00000 n \n", file[table:])
    assert len(entries) == 5
    for number, place in enumerate(entries, 1):
        assert file[int(place) :].startswith(b"%d 0 obj\n" % number)
    (length,) = re.findall(rb"<< /Length (\d+) >>\nstream\n", file)
    drawn = file[file.index(b"stream\n", int(entries[3])) + len(b"stream\n") :]
    assert drawn[: int(length)] == b"45 0 0 30 0 0 cm /Picture Do"


@pytest.mark.skipif(os.name != "posix", reason="files are bounded as POSIX does")
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "tif", "bmp", "pdf", "svg"])
def test_a_disk_that_takes_half_of_it_is_told_and_half_is_not_left(suffix, tmp_path) -> None:
    """The system writes what there is room for, and says how much: half a picture is none."""
    import resource

    path = tmp_path / f"a.{suffix}"
    save_image(path, Image.fromarray(PIXELS))
    whole = path.read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) // 2, before[1]))
    try:
        with pytest.raises(ImageError, match=r"a\..* cannot be written: .*File too large"):
            save_image(path, Image.fromarray(PIXELS[::-1]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == whole
