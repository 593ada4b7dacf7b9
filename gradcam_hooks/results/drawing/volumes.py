"""Maps ``(depth, height, width)``: slices of a volume, or frames of a video, and montages of them.

A slice is drawn as a picture is. Rows are ``height`` from top to bottom, columns ``width`` from
left to right, as the array lies: nothing is turned, but of a scan whose axes are known, which is
drawn at its own resolution as a radiologist sees it. Knows volumes as arrays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gradcam_hooks.errors import InputError
from gradcam_hooks.images.colors import Floats, blend, to_float
from gradcam_hooks.images.encoding import enlarged
from gradcam_hooks.images.volumes import ScanPicture
from gradcam_hooks.results import regions
from gradcam_hooks.results.drawing.style import Slices, Style
from gradcam_hooks.results.drawing.subject import Ground, Subject

__all__ = ["Volume"]

_COUNT = 9
"""Slices of a montage, where it is not said which."""

_LEAST = 128
"""The shorter side of a slice, in pixels at least: a smaller one is enlarged by a whole number."""

_GAP = 3  # less than between the pictures of a sheet, so that a montage is seen as one


@dataclass(frozen=True)
class Volume(Ground):
    """A volume to draw on.

    Attributes:
        pixels: RGB floats in [0, 1], ``(depth, height, width, 3)``.
        word: what a slice across the first axis is called.
        scan: where the maps lie on the scan that was explained, whose slices the pixels are.
    """

    pixels: Floats
    word: str = "slice"
    scan: ScanPicture | None = None
    side: ClassVar[int] = 720

    @classmethod
    def of(cls, subject: Subject, space: Sequence[int]) -> Volume:
        """The ground for maps of ``space``, which is ``(depth, height, width)``.

        Raises:
            InputError: there is no volume to draw on, or it has another shape.
        """
        if subject.given is not None:
            pixels, colours = _read(subject.given)
        elif isinstance(subject.picture, ScanPicture):
            scan = subject.picture.scan
            whole = np.stack([scan.upright(one) for one in scan.values])
            shown = whole if len(whole) == 3 else whole[:1]
            return cls(_displayed(torch.from_numpy(shown.copy()))[0], "axial", subject.picture)
        else:
            pixels, colours = _displayed(subject.tensor)
        if pixels.shape[:3] != tuple(space):
            raise InputError(
                f"the volume has the shape {pixels.shape[:3]} and the map {tuple(space)}; both are "
                "(depth, height, width) of the input."
            )
        return cls(pixels, "frame" if colours else "slice")

    def bare(self) -> Floats:
        """A montage of evenly spaced slices, without a map."""
        return self.draw(None, Style(alpha=0))

    def draw(self, heat: Tensor | None, style: Style) -> Floats:
        """One slice with its map, or a montage with the number of each.

        Args:
            heat: a map ``(depth, height, width)``; None for none.
            style: ``slice`` says which slices, ``axis`` across which axis, of a scan 0 for axial
                slices, 1 for coronal and 2 for sagittal ones; regions are cut in the
                volume, and each slice shows its part of them.

        Raises:
            InputError: there is no such slice or axis, or axes with ticks are asked for.
        """
        if style.axes is not None:
            raise InputError("axes= are of signals and pictures; of a volume leave them out.")
        if style.axis not in (0, 1, 2):
            raise InputError(f"axis= is 0 (depth), 1 (height) or 2 (width), not {style.axis!r}.")
        values = np.full(self.pixels.shape[:3], 0.5 if style.signed else 0, np.float32)
        if heat is not None:
            values = self._laid(heat)
        high = regions.mask(values, style) if style.boxes or style.contours else None
        cut, weights = np.moveaxis(self.pixels, style.axis, 0), np.moveaxis(values, style.axis, 0)
        high = None if high is None else np.moveaxis(high, style.axis, 0)
        mass = np.abs(2 * weights - 1) if style.signed else weights
        numbers = chosen(style.slice, mass)
        if self.scan is not None and style.axis and self.scan.scan.upward:
            cut, weights = cut[:, ::-1], weights[:, ::-1]
            high = None if high is None else high[:, ::-1]
        cells = [
            _cell(cut[n], weights[n], None if high is None else high[n], style) for n in numbers
        ]
        if isinstance(style.slice, int):
            return cells[0]
        words = ("", "row", "column") if self.scan is None else ("", "coronal", "sagittal")
        word = self.word if style.axis == 0 else words[style.axis]
        return _montage(cells, [f"{word} {number}" for number in numbers])

    def _laid(self, heat: Tensor) -> npt.NDArray[np.float32]:
        """A map on the pixels."""
        if self.scan is None:
            found: npt.NDArray[np.float32] = heat.detach().cpu().float().numpy()
            return found
        scan = self.scan.scan
        return scan.upright(self.scan.place.onto(heat, scan.shape))


def chosen(which: Slices, heat: npt.NDArray[np.float32]) -> list[int]:
    """The numbers of the slices to draw, of a map whose first axis is cut across.

    ``"mass"`` parts the map's sum in nine equal shares and takes the slice in the middle of each,
    so that slices crowd where the map is high; a slice that stands for two shares is drawn once.

    Raises:
        InputError: there is no such slice.

    >>> chosen("mass", np.array([[0.0], [2.0], [6.0], [0.0]], np.float32))
    [1, 2]
    >>> chosen("even", np.zeros((18, 1), np.float32))
    [1, 3, 5, 7, 9, 11, 13, 15, 17]
    """
    depth = len(heat)
    shares = (np.arange(min(_COUNT, depth)) + 0.5) / min(_COUNT, depth)
    even = [int(share * depth) for share in shares]
    if which == "even":
        return even
    if which == "mass":
        mass = heat.reshape(depth, -1).sum(1, dtype=np.float64).cumsum()
        if mass[-1] <= 0:
            return even
        return sorted({int(n) for n in np.searchsorted(mass, shares * mass[-1])})
    given = [which] if isinstance(which, int) else list(which)
    if not given or not all(isinstance(number, int | np.integer) for number in given):
        raise InputError(f"slice= is a number, a list of numbers, 'even' or 'mass'; got {which!r}.")
    numbers = [int(number) for number in given]
    for number in numbers:
        if not -depth <= number < depth:
            raise InputError(f"slice= goes from 0 to {depth - 1} across this axis; got {number!r}.")
    return [number % depth for number in numbers]


def _cell(
    pixels: Floats,
    heat: npt.NDArray[np.float32],
    high: npt.NDArray[np.bool_] | None,
    style: Style,
) -> Floats:
    """One slice with its map, large enough to be looked at."""
    drawn = blend(pixels, heat, alpha=style.weight(heat), colormap=style.colours)
    drawn = enlarged(drawn, _LEAST)
    if high is None:
        return drawn
    from gradcam_hooks.images.marks import mark

    times = drawn.shape[0] // high.shape[0]
    large = high.repeat(times, 0).repeat(times, 1)
    least = style.min_area * times**2
    boxes = regions.boxes(large, min_area=least) if style.boxes else []
    lines = regions.contours(large, min_area=least) if style.contours else []
    return mark(drawn, boxes, lines)


def _montage(cells: Sequence[Floats], titles: Sequence[str]) -> Floats:
    """Slices side by side, each above its name, on paper that is a little wider than high."""
    from gradcam_hooks.images.sheets import in_rows, sheet

    height, width = cells[0].shape[:2]
    count = len(cells)

    def amiss(wide: int) -> float:
        """How far the montage is from 4:3, and how much of it would be empty."""
        down = math.ceil(count / wide)
        shape = math.log(wide * width / (down * height) * 3 / 4)
        return abs(shape) + 2 * (wide * down - count) / (wide * down)

    wide = min(range(1, count + 1), key=amiss)
    return sheet(
        in_rows(cells, wide),
        captions=in_rows([(title,) for title in titles], wide),
        most=height,
        least=0,
        gap=_GAP,
    )


def _read(given: object) -> tuple[Floats, bool]:
    """What the user draws on as RGB in [0, 1], and whether it came in colour."""
    if isinstance(given, Tensor):
        given = given.numpy(force=True)
    if isinstance(given, np.ndarray) and (given.ndim == 3 or given.shape[3:] == (3,)):
        grey = to_float(given) if given.dtype == np.uint8 else given.astype(np.float32)
        colours = grey.ndim == 4
        rgb = grey if colours else np.repeat(grey[..., None], 3, axis=3)
        return rgb, colours
    shape = f" of shape {given.shape}" if isinstance(given, np.ndarray) else ""
    raise InputError(
        "a map of a volume is drawn on an array (depth, height, width) or (depth, height, width, "
        f"3), uint8 or floats in [0, 1], not on {type(given).__name__}{shape}."
    )


def _displayed(tensor: Tensor | None) -> tuple[Floats, bool]:
    """A tensor scaled to [0, 1] for the eye as a whole, so that slices keep their proportions.

    In colour from its least to its greatest value, as a photograph is. A scan holds a few voxels
    that outshine all others, so of one channel the lowest and the highest 0.5% are clipped.
    """
    if tensor is None or tensor.ndim != 4 or tensor.shape[0] not in (1, 3):
        raise InputError(
            "there is no volume to draw on: the input was no tensor (batch, 1 or 3, depth, height, "
            "width). Pass one of its channels, scaled to [0, 1]: result.overlay(volume)."
        )
    values = tensor.detach().float().cpu()
    colours = tensor.shape[0] == 3
    array = values.expand(3, -1, -1, -1).permute(1, 2, 3, 0).numpy()
    low, high = np.quantile(array[..., 0], (0.005, 0.995)) if not colours else (0.0, 0.0)
    if not high > low:
        low, high = array.min(), array.max()
    scaled = (array - low) / (high - low) if high > low else np.zeros_like(array)
    return np.asarray(scaled, np.float32).clip(0, 1), colours
