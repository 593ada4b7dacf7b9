"""Names: what tells pictures apart, and where the overlay of each goes.

A picture's place is its path as seen from the folder of the results, whatever folder the command
was called from. This file knows paths alone; it opens nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from itertools import takewhile
from pathlib import Path, PurePath, PurePosixPath

__all__ = [
    "absolute",
    "below",
    "card_name",
    "folded",
    "overlay_names",
    "place_of",
    "shared_folder",
    "volume_name",
]

_LONGEST = 240
"""Bytes of a name without its suffix at most: file systems take 255."""


def absolute(path: str | os.PathLike[str]) -> Path:
    """The path from the root on, its links kept."""
    return Path(os.path.abspath(path))  # noqa: PTH100  (resolve() would follow links)


def place_of(path: str | os.PathLike[str], out: Path) -> str:
    """Where a file is, as seen from the folder of the results, with "/".

    >>> place_of("photos/cat.jpg", Path("results"))
    '../photos/cat.jpg'
    """
    seen: str | Path = absolute(path)
    with contextlib.suppress(ValueError):  # on another drive
        seen = os.path.relpath(seen, absolute(out))
    return PurePath(seen).as_posix()


def shared_folder(paths: Sequence[PurePath]) -> PurePath:
    """The folder that all paths lie in or below.

    >>> shared_folder([PurePosixPath("/a/b/1.png"), PurePosixPath("/a/2.png")]).as_posix()
    '/a'
    """
    parents = [path.parent.parts for path in paths]
    return type(paths[0])(*parents[0][: _shared(parents)])


def below(path: PurePath, root: PurePath) -> PurePosixPath:
    """A path below a folder; of one that lies elsewhere, what of it the folder does not share.

    >>> below(PurePosixPath("/a/b/1.png"), PurePosixPath("/a")).as_posix()
    'b/1.png'
    >>> below(PurePosixPath("/a/c/1.png"), PurePosixPath("/a/b")).as_posix()
    'c/1.png'
    """
    parts = list(path.parts[_shared([path.parent.parts, root.parts]) :])
    if parts[0] == path.anchor:  # of a drive its letter
        parts[0] = "".join(filter(str.isalnum, parts[0]))
    return PurePosixPath(*parts)


def _shared(rows: Sequence[Sequence[str]]) -> int:
    """With how many parts all begin."""
    return len(list(takewhile(lambda column: len(set(column)) == 1, zip(*rows, strict=False))))


def overlay_names(
    pictures: Sequence[PurePath],
    root: PurePath | None = None,
    taken: Collection[str] = (),
    suffix: str = ".png",
) -> list[str]:
    """Where each picture's overlay goes, relative to the folder of the results, with "/".

    The folders below the root are kept. Where two pictures differ in their suffix alone, they
    keep it, and where that is not enough, or a name is too long, it gets a digest of the path.

    Args:
        pictures: their paths, all absolute or all relative to one folder.
        root: by default the folder that all of them share.
        taken: names that are others', as `folded`.
        suffix: of the overlays.

    >>> overlay_names([Path("a/cat.jpg"), Path("a/b/cat.jpg"), Path("a/b/cat.png")])
    ['overlays/cat.png', 'overlays/b/cat.jpg.png', 'overlays/b/cat.png.png']
    """
    if not pictures:
        return []
    root = shared_folder(pictures) if root is None else root
    inner = [below(path, root) for path in pictures]
    plainness = [0] * len(pictures)  # 0 for the stem alone, 1 with the suffix, 2 with a digest
    while True:
        names = [f"{_name(*one)}{suffix}" for one in zip(pictures, inner, plainness, strict=True)]
        count = Counter([*map(folded, names), *taken])
        clashing = [i for i, name in enumerate(names) if count[folded(name)] > 1]
        clashing = [i for i in clashing if plainness[i] < 2]
        if not clashing:
            return names
        least = min(plainness[i] for i in clashing)
        for i in clashing:
            plainness[i] += plainness[i] == least


def _name(path: PurePath, inner: PurePosixPath, plainness: int) -> str:
    whole = inner.name.lower().endswith(".nii.gz")  # two suffixes that are one
    stem = inner.name if plainness else inner.name[:-7] if whole else inner.stem
    if plainness == 2 or len(os.fsencode(stem)) > _LONGEST:
        digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:8]
        stem = f"{os.fsencode(stem)[: _LONGEST - 9].decode(errors='ignore')}-{digest}"
    return f"overlays/{(inner.parent / stem).as_posix()}"


def folded(name: str) -> str:
    """A name as file systems may see it that take Cat.png and cat.png for one file."""
    return unicodedata.normalize("NFC", name).casefold()


def card_name(overlay: str) -> str:
    """Where the card of a picture goes, by the name of its overlay.

    >>> card_name("overlays/b/cat.jpg.png")
    'maps/b/cat.jpg.json'
    """
    return f"maps/{overlay.removeprefix('overlays/').rpartition('.')[0]}.json"


def volume_name(overlay: str) -> str:
    """Where the map of a scan goes, by the name of its overlay.

    >>> volume_name("overlays/scan.png")
    'maps/scan.nii.gz'
    """
    return card_name(overlay).removesuffix(".json") + ".nii.gz"
