"""Boxes and masks as people write them down, read and brought onto a network's input."""

from __future__ import annotations

import io
import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gradcam_hooks as gh
from gradcam_hooks.auditing.objects import objects_of, on_input
from gradcam_hooks.auditing.pictures import pictures_of
from gradcam_hooks.images.annotations import mask_files, matched, read_boxes, read_mask
from gradcam_hooks.images.geometry import Geometry

VOC = """<annotation><filename>cat.jpg</filename>
<object><name>cat</name><bndbox><xmin>{}</xmin><ymin>1</ymin><xmax>4</xmax><ymax>2</ymax></bndbox></object>
</annotation>"""
COCO = (
    '{"images": [{"id": 1, "file_name": "cat.jpg"}], "annotations": [{"image_id": 1, "bbox": %s}]}'
)


def test_coco_and_voc_say_the_same_box(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 7, "file_name": "cat.jpg"}, {"id": 8, "file_name": "none.jpg"}],
        "annotations": [
            {"image_id": 7, "bbox": [1, 0, 3, 2]},
            {"image_id": 7, "bbox": [0, 0, 9, 9], "iscrowd": 1},
        ],
    }
    (tmp_path / "coco.json").write_text(json.dumps(content))
    (tmp_path / "voc").mkdir()
    (tmp_path / "voc" / "cat.xml").write_text(VOC.format(2))
    coco = read_boxes(tmp_path / "coco.json")
    assert coco == {"cat.jpg": [(1, 0, 4, 2)], "none.jpg": []}
    assert read_boxes(tmp_path / "voc") == {"cat.jpg": [(1, 0, 4, 2)]}
    assert read_boxes(tmp_path / "voc" / "cat.xml") == read_boxes(tmp_path / "voc")


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.json", "{", "is no COCO file"),
        ("a.json", "[]", "is no COCO file"),
        ("a.json", '{"images": [], "annotations": [{"image_id": 1}]}', "is no COCO file"),
        ("a.json", COCO % "[0, 0, 1%s, 1]" % ("0" * 400), "is no COCO file"),
        ("a.json", COCO % '"1234"', "is no COCO file"),
        ("a.json", COCO % "[1, 1, 0, 2]", r"a box without an inside for 'cat\.jpg'.*take it out"),
        ("a.xml", "<annotation>", "is no Pascal VOC file"),
        ("a.xml", VOC.format("x"), "is no Pascal VOC file"),
        ("a.xml", VOC.format(9), "a box without an inside"),
        ("a.xml", '<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', "declares entities"),
        ("a.json", None, "cannot be read: it is not there"),
    ],
)
def test_what_is_no_annotation_is_told(tmp_path: Path, name: str, content: str, why: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(gh.InputError, match=why):
        read_boxes(tmp_path / name)


def test_masks_of_any_mode_and_vocs_border_is_neither(tmp_path: Path) -> None:
    palette = Image.fromarray(np.array([[0, 1, 255]], np.uint8))
    palette.putpalette([0] * 768)
    palette.save(tmp_path / "voc.png")
    Image.fromarray(np.array([[0, 1, 255]], np.uint8)).save(tmp_path / "grey.png")
    rgba = np.array([[[9, 0, 0, 0], [0, 0, 9, 9], [0, 0, 0, 9]]], np.uint8)
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    found = {name: read_mask(file).tolist() for name, file in mask_files(tmp_path).items()}
    assert found == {
        "voc": [[False, True, False]],
        "grey": [[False, True, True]],
        "rgba": [[False, True, False]],
    }
    (tmp_path / "torn.png").write_bytes(b"no picture")
    with pytest.raises(gh.InputError, match="cannot be read as a mask"):
        read_mask(tmp_path / "torn.png")


def test_pictures_are_matched_by_the_ends_of_their_paths() -> None:
    names = ["a/cat/1.jpg", "a/dog/1.jpg", "a/2.jpg"]
    assert matched(names, {"cat/1.jpg": 1, "2.jpg": 2}) == [1, None, 2]
    assert matched(names, {"cat/1": 1, "dog/1": 3}, stems=True) == [1, 3, None]
    with pytest.raises(gh.InputError, match=r"none of the 3 pictures, such as 'a/cat/1\.jpg'"):
        matched(names, {"other.jpg": 1})


def test_a_box_and_its_mask_lie_at_one_place_of_a_cropped_input() -> None:
    geometry = Geometry((40, 60), (20, 20), scale=(1.5, 1.5), offset=(5.0, 15.0))
    mask = torch.zeros(40, 60, dtype=torch.bool)
    mask[10:25, 20:50] = True
    inside = on_input([(20, 10, 50, 25)], geometry)
    assert torch.equal(inside, on_input(mask, geometry))
    y, x = inside.nonzero()[0].tolist()
    assert (y + 0.5) * 1.5 + 5 >= 10 > (y - 0.5) * 1.5 + 5
    assert (x + 0.5) * 1.5 + 15 >= 20 > (x - 0.5) * 1.5 + 15
    half = mask[::2, ::2]  # a mask of another size, of the same proportions
    assert (on_input(half, geometry) ^ inside).float().mean() < 0.1
    assert not on_input(None, geometry).any()
    with pytest.raises(gh.InputError, match="proportions"):
        on_input(mask[:20], geometry)
    with pytest.raises(gh.InputError, match="a box is"):
        on_input([1, 2, 3, 4], geometry)


@pytest.mark.skipif(os.name != "posix", reason="pipes lie among files as POSIX has them")
def test_what_is_no_file_is_told_and_not_waited_for(tmp_path: Path) -> None:
    for name in ("voc/cat.xml", "coco.json", "masks/cat.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        os.mkfifo(tmp_path / name)
    for name in ("voc", "voc/cat.xml", "coco.json"):
        with pytest.raises(gh.InputError, match="it is a pipe"):
            read_boxes(tmp_path / name)
    with pytest.raises(gh.InputError, match="it is a device"):
        read_boxes("/dev/zero")
    with pytest.raises(gh.InputError, match="it is a pipe"):
        read_mask(mask_files(tmp_path / "masks")["cat"])
    for name, why in (("coco.json", "is a pipe"), ("nowhere", "is not there")):
        with pytest.raises(gh.InputError, match=why):
            mask_files(tmp_path / name)


def test_a_mask_that_is_a_bomb_or_another_program_s_is_told(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(np.ones((2, 2), np.uint8)).save(file, "PNG")
    head = b"IHDR" + struct.pack(">II", 1 << 16, 1 << 16) + file.getvalue()[24:29]
    bomb = file.getvalue()[:12] + head + struct.pack(">I", zlib.crc32(head))
    for content in (
        bomb + file.getvalue()[33:],
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    ):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(gh.InputError, match=r"a\.png' cannot be read as a mask"):
            read_mask(tmp_path / "a.png")


def test_a_mask_of_other_proportions_is_told_with_its_picture(tmp_path: Path) -> None:
    for name, shape in (("photos", (8, 8)), ("masks", (8, 5))):
        (tmp_path / name).mkdir()
        Image.fromarray(np.ones(shape, np.uint8)).save(tmp_path / name / "a.png")
    photos = [tmp_path / "photos" / "a.png"]
    prepare = gh.Preprocess(size=(8, 8))
    pictures = pictures_of(photos, lambda: prepare)
    places = objects_of(None, tmp_path / "masks", pictures, photos, lambda: prepare)
    assert places is not None
    with pytest.raises(gh.InputError, match=r"of '.*a\.png': a mask has its picture's proportions"):
        places([0], (8, 8))
