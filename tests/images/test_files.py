"""Files are written whole or not at all, and pictures are found in the order people count."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradcam_hooks.errors import GradCamHooksError, ImageError
from gradcam_hooks.images.files import list_images, readable_suffixes, write_whole


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (2, 2)).save(path)
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestWriteWhole:
    def test_the_file_appears_when_the_block_ends(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "deep" / "a.txt"
        with write_whole(path) as part:
            assert part.parent == path.parent
            assert part.name.startswith(".")
            part.write_text("all of it")
            assert not path.exists()
        assert path.read_text() == "all of it"
        assert names(path.parent) == ["a.txt"]

    def test_the_suffix_is_kept_so_that_savez_adds_none(self, tmp_path: Path) -> None:
        path = tmp_path / "layer4.0.conv1.npz"
        with write_whole(path) as part:
            np.savez(part, maps=np.arange(3))
        assert names(tmp_path) == ["layer4.0.conv1.npz"]
        with np.load(path) as arrays:
            assert arrays["maps"].tolist() == [0, 1, 2]

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
    def test_an_error_leaves_the_old_file_and_nothing_else(
        self, tmp_path: Path, error: type[BaseException]
    ) -> None:
        path = tmp_path / "a.txt"
        path.write_text("old")

        def interrupted() -> None:
            with write_whole(path) as part:
                part.write_text("half")
                raise error("in the middle")

        with pytest.raises(error, match="in the middle"):
            interrupted()
        assert path.read_text() == "old"
        assert names(tmp_path) == ["a.txt"]

    def test_an_old_file_is_replaced(self, tmp_path: Path) -> None:
        path = tmp_path / "a.txt"
        path.write_text("a much longer old text")
        with write_whole(str(path)) as part:
            part.write_text("new")
        assert path.read_text() == "new"

    @pytest.mark.skipif(os.name != "posix", reason="permission bits are POSIX's")
    def test_permissions_are_those_of_any_new_file(self, tmp_path: Path) -> None:
        with write_whole(tmp_path / "a.txt") as part:
            part.write_text("whole")
        (tmp_path / "plain.txt").write_text("plain")
        modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.txt", "plain.txt")}
        assert len(modes) == 1

    def test_two_writers_do_not_meet(self, tmp_path: Path) -> None:
        with write_whole(tmp_path / "a.txt") as first:
            first.write_text("first")
            with write_whole(tmp_path / "a.txt") as second:
                second.write_text("second")
            assert (tmp_path / "a.txt").read_text() == "second"
        assert (tmp_path / "a.txt").read_text() == "first"

    def test_a_block_that_writes_nothing_is_an_error(self, tmp_path: Path) -> None:
        with (
            pytest.raises(FileNotFoundError, match=r"the block wrote no file.*a\.txt"),
            write_whole(tmp_path / "a.txt"),
        ):
            pass
        assert names(tmp_path) == []

    def test_a_folder_is_not_replaced(self, tmp_path: Path) -> None:
        with (
            pytest.raises(IsADirectoryError, match="is a folder"),
            write_whole(tmp_path) as part,
        ):
            part.write_text("never")

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
    def test_what_is_no_regular_file_is_not_replaced(self, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"  # stands for /dev/null, which a rename would replace
        os.mkfifo(pipe)
        with pytest.raises(OSError, match="no regular file"), write_whole(pipe) as part:
            part.write_text("never")
        assert pipe.is_fifo()

    def test_a_link_is_followed(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        real = tmp_path / "real" / "a.txt"
        real.write_text("old")
        link = tmp_path / "link.txt"
        link.symlink_to(real)
        with write_whole(link) as part:
            part.write_text("new")
        assert link.is_symlink()
        assert real.read_text() == "new"

    def test_a_file_in_the_place_of_a_folder_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("a file")
        with (
            pytest.raises(FileExistsError, match=r"a'"),
            write_whole(tmp_path / "a" / "b.txt") as part,
        ):
            part.write_text("never")


class TestListImages:
    def test_natural_order_and_sub_folders(self, tmp_path: Path) -> None:
        wanted = [
            "a/z.png",
            "b2.PNG",
            "B10.jpg",
            "img1.png",
            "img2.png",
            "img10.png",
            "img10/1.bmp",
        ]
        for name in reversed(wanted):
            picture(tmp_path / name)
        found = [path.relative_to(tmp_path).as_posix() for path in list_images([tmp_path])]
        assert sorted(found) == sorted(wanted)
        assert [name for name in found if "/" not in name] == [
            "b2.PNG", "B10.jpg", "img1.png", "img2.png", "img10.png",
        ]  # fmt: skip
        assert found[0] == "a/z.png"

    def test_hidden_files_and_other_suffixes_are_skipped(self, tmp_path: Path) -> None:
        kept = picture(tmp_path / "kept.webp")
        picture(tmp_path / ".hidden.png")
        picture(tmp_path / ".cache" / "a.png")
        for name in ("notes.txt", "weights.h5", "film.mpg", "figure.eps", "no_suffix"):
            (tmp_path / name).write_bytes(b"other")
        assert list_images([tmp_path]) == [kept]

    def test_a_file_that_is_named_is_kept_whatever_its_suffix(self, tmp_path: Path) -> None:
        odd = tmp_path / ".hidden.dat"
        odd.write_bytes(b"perhaps a picture")
        assert list_images([odd]) == [odd]

    def test_the_order_of_the_arguments_and_each_picture_once(self, tmp_path: Path) -> None:
        one, two = picture(tmp_path / "a" / "1.png"), picture(tmp_path / "a" / "2.png")
        assert list_images([two, tmp_path / "a", str(two)]) == [two, one]

    def test_one_path_alone(self, tmp_path: Path) -> None:
        one = picture(tmp_path / "1.png")
        assert list_images(tmp_path) == [one]  # type: ignore[arg-type]
        assert list_images(str(tmp_path)) == [one]

    def test_the_folder_of_the_results_can_be_left_out(self, tmp_path: Path) -> None:
        one = picture(tmp_path / "1.png")
        picture(tmp_path / "out" / "1.png")
        picture(tmp_path / "out" / "deep" / "1.png")
        assert list_images([tmp_path], exclude=tmp_path / "out") == [one]
        assert list_images([tmp_path / "out"], exclude=tmp_path / "out" / "1.png") == [
            tmp_path / "out" / "deep" / "1.png"
        ]

    def test_links_that_lead_back_end(self, tmp_path: Path) -> None:
        pictures = [picture(tmp_path / folder / "1.png") for folder in "abc"]
        for folder in "abc":  # the ways through three such links double, and double again
            (tmp_path / folder / "again").symlink_to(tmp_path, target_is_directory=True)
        assert list_images([tmp_path]) == pictures

    def test_a_folder_that_may_not_be_read_is_not_passed_over(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        picture(tmp_path / "1.png")
        picture(tmp_path / "locked" / "2.png")
        scandir = os.scandir

        def guarded(path: str | os.PathLike[str]) -> Iterator[os.DirEntry[str]]:
            if Path(path).name == "locked":  # chmod would not stop root
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return scandir(path)

        monkeypatch.setattr(os, "scandir", guarded)
        with pytest.raises(ImageError, match=r"the folder '.*locked' cannot be read: Permission"):
            list_images([tmp_path])

    def test_linked_folders_are_searched(self, tmp_path: Path) -> None:
        picture(tmp_path / "elsewhere" / "1.png")
        (tmp_path / "here").mkdir()
        (tmp_path / "here" / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
        assert list_images([tmp_path / "here"]) == [tmp_path / "here" / "link" / "1.png"]

    def test_a_missing_path_names_the_nearest(self, tmp_path: Path) -> None:
        picture(tmp_path / "kitten.png")
        with pytest.raises(
            ImageError, match=r"no file or folder '.*kiten\.png'; did you mean '.*kitten\.png'"
        ):
            list_images([tmp_path / "kiten.png"])
        with pytest.raises(ImageError, match=r"its folder '.*nowhere' does not exist either"):
            list_images([tmp_path / "nowhere" / "a.png"])

    def test_no_picture_at_all_names_the_folder(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("no picture")
        with pytest.raises(ImageError, match=f"no picture in '{tmp_path}'") as caught:
            list_images([tmp_path])
        assert isinstance(caught.value, GradCamHooksError)
        with pytest.raises(ImageError, match="an empty list of paths"):
            list_images([])

    def test_every_suffix_that_is_listed_has_a_reader(self) -> None:
        assert {
            ".jpg",
            ".jpeg",
            ".png",
            ".webp",
            ".tif",
            ".tiff",
            ".bmp",
            ".gif",
        } <= readable_suffixes()
        assert not readable_suffixes() & {".h5", ".hdf", ".mpg", ".eps", ".pdf", ".npz"}
