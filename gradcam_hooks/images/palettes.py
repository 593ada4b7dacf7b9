"""What colours a name stands for: OpenCV's colour maps, a few of our own, and matplotlib's.

A colour map is 256 colours. `colour_table` finds them by a name, of which most take no matplotlib,
or takes them from any colormap object. Knows numbers and names; no picture.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from gradcam_hooks.errors import InputError
from gradcam_hooks.images.opencv import opencv

__all__ = [
    "COLORMAPS",
    "DIVERGING_COLORMAP",
    "Colormap",
    "Palette",
    "colour_table",
    "settled",
]

Floats = npt.NDArray[np.float32]

COLORMAPS: tuple[str, ...] = (
    "autumn", "bone", "cividis", "cool", "deepgreen", "hot", "hsv", "inferno", "jet", "magma",
    "ocean", "parula", "pink", "plasma", "rainbow", "spring", "summer", "turbo", "twilight",
    "twilight_shifted", "viridis", "winter",
)  # fmt: skip
"""The colour maps, by the names OpenCV gives them."""

DIVERGING_COLORMAP = "RdBu_r"
"""For maps with a sign: blue for what speaks against the score, red for what speaks for it."""

_STOPS = {
    # ColorBrewer's, as matplotlib has them
    "RdBu": "67001f b2182b d6604d f4a582 fddbc7 f7f7f7 d1e5f0 92c5de 4393c3 2166ac 053061",
    "bwr": "0000ff ffffff ff0000",
    "gray": "000000 ffffff",
}
"""Colours between which a map is linear, for those that OpenCV has not."""

_REVERSED = "_r"


@dataclass(frozen=True)
class Palette:
    """256 colours with a name, as they came out of a colormap object.

    Attributes:
        name: what the object calls itself.
        colours: float32 RGB in [0, 1], as bytes.
    """

    name: str
    colours: bytes = field(repr=False)

    def __repr__(self) -> str:
        return f"<colormap {self.name} {hashlib.sha256(self.colours).hexdigest()[:8]}>"

    def __str__(self) -> str:
        return self.name


Colormap: TypeAlias = "str | Palette | Callable[[npt.NDArray[np.float64]], npt.ArrayLike]"
"""A name, or an object that gives colours of numbers in [0, 1], as matplotlib's do."""


def settled(colormap: Colormap) -> str | Palette:
    """A colour map that is known to exist, as plain data that can be compared and told.

    Raises:
        InputError: there is none of this name, or the object gives no colours.

    >>> settled("Magma_r"), settled(lambda x: np.stack([x, x, x], axis=1)).name
    ('magma_r', 'lambda')
    """
    if isinstance(colormap, str):
        name = _spelled(colormap)
        if name.removesuffix(_REVERSED) not in (*COLORMAPS, *_STOPS):
            _of_matplotlib(name)
        return name
    if isinstance(colormap, Palette):
        return colormap
    name = getattr(colormap, "name", None) or getattr(colormap, "__name__", "own").strip("<>")
    return Palette(str(name), _sampled(colormap).tobytes())


def colour_table(colormap: Colormap) -> Floats:
    """The 256 colours of a colour map: float32 RGB in [0, 1], ``(256, 3)``, read-only.

    Raises:
        InputError: there is none of this name, or the object gives no colours.
    """
    colormap = settled(colormap)
    if isinstance(colormap, Palette):
        return np.frombuffer(colormap.colours, np.float32).reshape(256, 3)
    return _named(colormap)


def _spelled(name: str) -> str:
    """A name of ours in our own spelling; another as it came."""
    low = name.lower()
    own = {one.lower(): one for one in (*COLORMAPS, *_STOPS)} | {"grey": "gray"}
    base = low.removesuffix(_REVERSED)
    return own[base] + low[len(base) :] if base in own else name


@cache
def _named(name: str) -> Floats:
    base = name.removesuffix(_REVERSED)
    if base in COLORMAPS:
        cv2 = opencv()
        steps = np.arange(256, dtype=np.uint8)[:, None]
        bgr = cv2.applyColorMap(steps, getattr(cv2, f"COLORMAP_{base.upper()}"))[:, 0]
        table = bgr[:, ::-1].astype(np.float32) / np.float32(255)
    elif base in _STOPS:
        stops = np.array([list(bytes.fromhex(one)) for one in _STOPS[base].split()]) / 255
        places = np.linspace(0, len(stops) - 1, 256)
        columns = [np.interp(places, np.arange(len(stops)), channel) for channel in stops.T]
        table = np.stack(columns, axis=1).astype(np.float32)
    else:
        return _of_matplotlib(name)
    table = np.ascontiguousarray(table[::-1] if base != name else table)
    table.flags.writeable = False  # every caller shares it
    return table


def _of_matplotlib(name: str) -> Floats:
    """A colour map that only matplotlib has.

    Raises:
        InputError: it has none of this name, or is not installed.
    """
    own = [*COLORMAPS, *_STOPS]
    try:
        from matplotlib import colormaps
    except ImportError:
        raise InputError(
            f"no colour map {name!r}; {_near(name, own)}There are: {', '.join(own)}, each also "
            "from the other end with _r behind. For matplotlib's others: pip install matplotlib"
        ) from None
    theirs = {one.lower(): one for one in colormaps}
    if name.lower() not in theirs:
        near = _near(name, own) or _near(name, [*theirs.values()])
        raise InputError(
            f"no colour map {name!r}; {near}There are: {', '.join(own)}, and matplotlib's."
        )
    table = _sampled(colormaps[theirs[name.lower()]])
    table.flags.writeable = False
    return table


def _near(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, dict.fromkeys(names), n=3, cutoff=0.5)
    return f"did you mean {' or '.join(repr(match) for match in close)}? " if close else ""


def _sampled(colormap: Callable[[npt.NDArray[np.float64]], Any]) -> Floats:
    """256 colours of an object, from 0 to 1.

    Raises:
        InputError: it gives no colours.
    """
    try:
        colours = np.asarray(colormap(np.linspace(0, 1, 256)), np.float32)
    except Exception as error:  # whatever somebody's object raises of numbers
        raise InputError(f"colormap= gave no colours of 256 numbers in [0, 1]: {error}") from error
    if colours.shape not in ((256, 3), (256, 4)) or not (0 <= colours.min() <= colours.max() <= 1):
        raise InputError(
            "colormap= is a name, or gives of 256 numbers in [0, 1] as many RGB colours in [0, 1]; "
            f"this gave an array {colours.shape}."
        )
    return np.ascontiguousarray(colours[:, :3])
