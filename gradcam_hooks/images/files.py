"""Files: pictures found in folders, and results written whole or not at all.

`write_whole` gives a temporary name in the same folder and renames it onto the final one at the
end, so that nobody ever reads half a file, and an old file survives a failed run. `list_images`
turns what a user names (files and folders) into the list of pictures to explain.

This file knows paths, and asks Pillow which suffixes it reads; it never reads a picture.
"""

from __future__ import annotations

import difflib
import errno
import importlib.util
import os
import re
import secrets
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gradcam_hooks.errors import ImageError

__all__ = [
    "is_dicom",
    "is_nifti",
    "list_images",
    "nearest_file",
    "no_file",
    "read_text",
    "readable_formats",
    "readable_suffixes",
    "told_left_out",
    "write_whole",
]

# Pillow registers these to recognise them, but decodes them only with another program, or never.
_NOT_DECODED = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})

_HEIC = frozenset({".heic", ".heif", ".hif"})

_DICOM = (".dcm", ".dicom", ".ima")
_MARK = slice(128, 132)
"""Where a file of DICOM says that it is one: DICM."""

_LONGEST_TEXT = 100_000_000
"""Bytes of a file of names or of a table at most."""


@contextmanager
def write_whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path to write to, which becomes `path` when the block ends well.

    The temporary file lies in the same folder (a rename is atomic only within a file system),
    is hidden, and keeps the suffix, by which Pillow and `np.savez` know the format. Missing
    folders are created. When the block raises, also by KeyboardInterrupt, the temporary file is
    removed and whatever stood at `path` stays as it was. A link is followed, not replaced.

    Args:
        path: the file to write.

    Yields:
        The path to write to inside the block.

    Raises:
        OSError: `path` is a folder or a device, the block wrote nothing, or the system refuses.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with write_whole(Path(folder) / "new" / "a.txt") as part:
    ...         _ = part.write_text("whole")
    ...     print(part.suffix, part.exists(), (Path(folder) / "new" / "a.txt").read_text())
    .txt False whole
    """
    final = Path(os.path.realpath(path))
    if final.is_symlink():
        raise OSError(errno.ELOOP, "is a link that leads back to itself", str(path))
    if final.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder; name a file in it", str(path))
    if final.exists() and not final.is_file():
        # Renaming onto /dev/null would replace the device itself.
        raise OSError(errno.EINVAL, "is no regular file; name a file to write", str(path))
    final.parent.mkdir(parents=True, exist_ok=True)
    # Not mkstemp: its files are private (0600), and a rename would keep that.
    part = final.with_name(f".part-{secrets.token_hex(8)}{final.suffix}")
    try:
        yield part
        if not part.exists():
            raise FileNotFoundError(errno.ENOENT, "the block wrote no file", str(path))
        part.replace(final)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def no_file(path: Path) -> str:
    """What is wrong with a path that should be a file to read; "" where it is one.

    A pipe or a device would be waited for, perhaps for good.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if path.is_symlink():
            return f"is a link to '{os.readlink(path)}', which leads nowhere"  # noqa: PTH115
        return "is not there" if error.errno == errno.ENOENT else f"cannot be opened: {error}"
    except ValueError as error:  # a name with a null in it
        return f"cannot be opened: {error}"
    kinds = {stat.S_ISDIR: "is a folder", stat.S_ISFIFO: "is a pipe", stat.S_ISSOCK: "is a socket"}
    named = next((words for is_one, words in kinds.items() if is_one(mode)), "is a device")
    return "" if stat.S_ISREG(mode) else named


def read_text(path: Path) -> str:
    """The text of a small file that a person may have written; a mark of its encoding is left out.

    Raises:
        OSError: it is not there, or the system refuses.
        ValueError: it is no file, too long, or no UTF-8.
    """
    if path.exists() and (reason := no_file(path)):
        raise ValueError(f"it {reason}")
    if path.stat().st_size > _LONGEST_TEXT:
        raise ValueError(f"it has more than {_LONGEST_TEXT:,} bytes")
    return path.read_text(encoding="utf-8-sig")


def readable_formats() -> list[str]:
    """The formats that Pillow decodes itself, by its names, in the order in which it tries them.

    >>> {"PNG", "JPEG"} <= set(readable_formats()), "EPS" in readable_formats()
    (True, False)
    """
    from PIL import Image

    _with_heic()
    Image.init()
    return [name for name in Image.ID if name not in _NOT_DECODED]


def _with_heic() -> None:
    """Let Pillow read HEIC where pillow-heif is installed."""
    from PIL import Image

    if "HEIF" not in Image.OPEN and importlib.util.find_spec("pillow_heif") is not None:
        import pillow_heif

        pillow_heif.register_heif_opener()


def readable_suffixes() -> frozenset[str]:
    """The suffixes, lower case and with their dot, of the formats that Pillow decodes itself.

    >>> sorted(readable_suffixes() & {".jpg", ".png", ".txt", ".h5"})
    ['.jpg', '.png']
    """
    formats = frozenset(readable_formats())
    from PIL import Image

    return frozenset(
        suffix for suffix, name in Image.registered_extensions().items() if name in formats
    )


def is_nifti(path: Path) -> bool:
    """Whether a file's name says NIfTI.

    >>> is_nifti(Path("map.nii.gz")), is_nifti(Path("map.NII")), is_nifti(Path("map.gz"))
    (True, True, False)
    """
    return path.name.lower().endswith((".nii", ".nii.gz"))


def is_dicom(given: Path | bytes | bytearray) -> bool:
    """Whether bytes, or a file by its suffix or where it has none by its bytes, are DICOM's."""
    if isinstance(given, bytes | bytearray):
        return bytes(given[_MARK]) == b"DICM"
    if given.suffix.lower() in _DICOM:
        return True
    if given.suffix.strip(".0123456789") or not given.is_file():
        return False  # names such as IM0001 and 1.2.840.1 are usual
    try:
        with given.open("rb") as file:
            return file.read(_MARK.stop)[_MARK] == b"DICM"
    except OSError:
        return False


def nearest_file(path: Path) -> str:
    """`"; did you mean 'cat.png'?"` by the names beside `path`, or nothing."""
    scheme, _, rest = path.as_posix().partition(":")
    if len(scheme) > 1 and rest.startswith("/"):
        return ": that is an address, and nothing is fetched here; download it and name the file"
    if not path.parent.is_dir():
        return f"; its folder '{path.parent}' does not exist either"
    names = [entry.name for entry in path.parent.iterdir()]
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean '{path.with_name(close[0])}'?" if close else ""


def list_images(
    paths: Sequence[str | os.PathLike[str]],
    *,
    exclude: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    left_out: Counter[str] | None = None,
) -> list[Path]:
    """The pictures among files and folders, each once, in the order a person would count them.

    Folders are searched with all their sub-folders, following links; hidden files and folders
    are skipped, and so is every file that is no picture by its suffix, no array (`.npy`) and no
    scan (NIfTI, DICOM). Within a folder the order
    is natural (`img2` before `img10`); what is named first comes first. A file that is named
    itself is always kept, whatever its suffix, and so is what has a picture's name and is a pipe,
    a device or a link that leads nowhere: that it is no picture is for the reader to say.

    Args:
        paths: files and folders.
        exclude: files or folders to leave out of the search, such as one that holds the results.
        left_out: counts those skipped that are not hidden, by suffix, for the caller to tell.

    Raises:
        ImageError: a path does not exist, a folder cannot be read, or there is no picture at all.
    """
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    excluded = [exclude] if isinstance(exclude, (str, os.PathLike)) else exclude
    apart = frozenset(map(os.path.realpath, excluded))
    skipped: Counter[str] = Counter() if left_out is None else left_out
    found: dict[str, Path] = {}
    for path in map(Path, paths):
        if path.is_dir():
            pictures = sorted(_search(path, apart, skipped), key=_natural)
        elif os.path.lexists(path):
            pictures = [path]
        else:
            raise ImageError(f"no file or folder '{path}'{nearest_file(path)}")
        for picture in pictures:
            found.setdefault(os.path.realpath(picture), picture)
    if not found:
        where = ", ".join(f"'{Path(path)}'" for path in paths) or "an empty list of paths"
        raise ImageError(
            f"no picture in {where}: expected files such as .jpg, .png or .webp, or scans "
            f"(hidden files are skipped{told_left_out(skipped)}); name a folder that holds some, "
            "or a file itself"
        )
    return list(found.values())


def told_left_out(left_out: Counter[str]) -> str:
    """What was left out, in words behind something else; nothing where nothing was.

    >>> told_left_out(Counter({".txt": 2, "": 1}))
    '; left out: 2 .txt, 1 without a suffix'
    """
    words = [f"{count} {suffix or 'without a suffix'}" for suffix, count in left_out.most_common(6)]
    rest = left_out.total() - sum(count for _, count in left_out.most_common(6))
    words += [f"{rest} of other kinds"] if rest else []
    words[-1:] = (
        [words[-1] + " (pip install pillow-heif reads .heic)"]
        if _HEIC & set(left_out)
        else words[-1:]
    )
    return f"; left out: {', '.join(words)}" if words else ""


def _search(folder: Path, left_out: frozenset[str], skipped: Counter[str]) -> Iterator[Path]:
    suffixes = readable_suffixes() | {".npy"}
    entered: set[str] = set()
    for root, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        here = Path(root)
        real = os.path.realpath(here)
        if real in left_out or real in entered:  # a link may lead back to where we have been
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            picture = here / name
            if name.startswith(".") or os.path.realpath(picture) in left_out:
                continue
            suffix = picture.suffix.lower()
            if suffix in suffixes or is_nifti(picture) or is_dicom(picture):
                yield picture
            else:
                skipped[suffix] += 1


def _refuse(error: OSError) -> None:
    # os.walk passes over a folder that it may not read, and its pictures would be missing.
    raise ImageError(f"the folder '{error.filename}' cannot be read: {error.strerror}") from error


def _natural(path: Path) -> list[list[tuple[int, int, str]]]:
    """A sort key that counts: digits compare as numbers, everything else without case."""
    return [[*map(_run, re.findall(r"[0-9]+|[^0-9]+", part)), (-1, 0, part)] for part in path.parts]


def _run(text: str) -> tuple[int, int, str]:
    return (0, int(text), text) if text.isdecimal() else (1, 0, text.casefold())
