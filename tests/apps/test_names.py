"""Names of overlays, for names of pictures that trip programs up."""

from __future__ import annotations

import ntpath
import os
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradcam_hooks.apps.batch import Series, names
from gradcam_hooks.apps.batch.names import below, card_name, folded, overlay_names, shared_folder
from gradcam_hooks.apps.cli import terminal
from gradcam_hooks.apps.report import entries_of
from tests.support.runs_on_disk import lines, noise, small_job


def test_pictures_on_two_drives_keep_the_drive_s_letter():
    pictures = [PureWindowsPath(r"C:\a\cat.jpg"), PureWindowsPath(r"D:\a\cat.jpg")]
    assert overlay_names(pictures) == ["overlays/C/a/cat.png", "overlays/D/a/cat.png"]
    root = shared_folder(pictures)
    assert [str(below(path, root)) for path in pictures] == ["C/a/cat.jpg", "D/a/cat.jpg"]
    shared = PureWindowsPath(r"\\host\share\x\1.png")
    assert str(below(shared, PureWindowsPath("C:\\"))) == "hostshare/x/1.png"


@pytest.mark.parametrize(
    ("picture", "place"),
    [
        (r"C:\photos\cat.jpg", "../photos/cat.jpg"),
        (r"c:\Results\in\cat.jpg", "in/cat.jpg"),
        (r"D:\photos\cat.jpg", "D:/photos/cat.jpg"),
        (r"\\host\share\cat.jpg", "//host/share/cat.jpg"),
    ],
)
def test_a_picture_s_place_on_windows_is_relative_on_its_own_drive_alone(picture, place):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "path", ntpath)
        patch.setattr(names, "Path", PureWindowsPath)
        patch.setattr(names, "PurePath", PureWindowsPath)
        found = names.place_of(picture, PureWindowsPath(r"C:\results"))
    assert found == place


def test_names_that_others_have_are_left_to_them():
    pictures = [PurePosixPath("/a/Cat.jpg"), PurePosixPath("/a/dog.jpg")]
    taken = {folded("overlays/cat.png")}
    assert overlay_names(pictures, taken=taken) == ["overlays/Cat.jpg.png", "overlays/dog.png"]
    taken |= {folded("overlays/cat.jpg.png")}
    first, second = overlay_names(pictures, taken=taken)
    assert first.startswith("overlays/Cat.jpg-")
    assert second == "overlays/dog.png"
    assert overlay_names(pictures, PurePosixPath("/a/b"))[1] == "overlays/dog.png"
    assert overlay_names(pictures, PurePosixPath("/c"))[1] == "overlays/a/dog.png"


PART = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=90)
PART = PART.filter(lambda text: text not in (".", ".."))
PATHS = st.lists(st.lists(PART, min_size=1, max_size=3).map(tuple), unique=True, max_size=8)


@settings(max_examples=200, deadline=None)
@given(PATHS, st.lists(PART, max_size=3))
def test_every_picture_has_a_name_of_its_own_that_file_systems_take(paths, taken):
    taken = {folded(f"overlays/{name}.png") for name in taken}
    names = overlay_names([PurePosixPath("/r", *parts) for parts in paths], taken=taken)
    assert len({folded(name) for name in names} - taken) == len(paths)
    for name in [*names, *map(card_name, names)]:
        assert ".." not in PurePosixPath(name).parts
        assert name.split("/")[0] in ("overlays", "maps")
    longest = max((len(os.fsencode(part)) for name in names for part in name.split("/")), default=0)
    assert longest <= max(
        [255, *(len(os.fsencode(part)) for parts in paths for part in parts[:-1])]
    )


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such names")
def test_pictures_of_odd_names_are_explained_and_told_as_text(tmp_path, capsys):
    names = [
        "new\nline.png", "quo'te\".png", "\x1b[2J\x1b[31mred.png", "emoji 🐈.png", "..dots...png",
        "a" * 251 + ".png", "é" * 125 + ".jpg", "cat.jpg", "Cat.png", "cat.png", "-rf.png",
        os.fsdecode(b"no utf-8 \xff.png"), " .png", "<script>.png", "e\u0301.png", "\u00e9.png",
    ]  # fmt: skip
    pictures = [noise(tmp_path / "in" / name, i) for i, name in enumerate(names)]
    out = tmp_path / "out"
    records = Series(small_job(), pictures, out).go()
    assert [record.error for record in records] == [None] * len(names)
    assert [line["file"] for line in lines(out)] == list(map(str, pictures))
    overlays = {(out / str(record.overlay)).resolve() for record in records}
    assert len(overlays) == len(names)
    assert all(path.parent == out / "overlays" for path in overlays)
    assert len(Series(small_job(), pictures, out).kept) == len(names)
    assert [entry.name for entry in entries_of(records, out)] == names
    terminal.show_records(records)
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\\x1b[2J" in "".join(shown.split())


@pytest.mark.skipif(os.name != "posix", reason="the limit is POSIX's")
def test_a_name_as_long_as_a_file_system_takes(tmp_path):
    picture = noise(tmp_path / ("n" * 251 + ".png"))
    again = noise(tmp_path / ("n" * 250 + "m.png"), 1)
    first, second = Series(small_job(), [picture, again], Path(tmp_path / "out")).go()
    assert first.error is second.error is None
    assert first.overlay != second.overlay
