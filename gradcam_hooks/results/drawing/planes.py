"""Maps ``(height, width)``, drawn at their place on the picture, at its own size.

What the network never saw of the picture stays as it is, and is outlined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from gradcam_hooks.errors import InputError
from gradcam_hooks.images.colors import Floats, blend
from gradcam_hooks.images.encoding import enlarged
from gradcam_hooks.images.geometry import Geometry
from gradcam_hooks.images.painting import Bytes, floats, paint
from gradcam_hooks.images.pictures import Picture
from gradcam_hooks.results import regions
from gradcam_hooks.results.drawing.axes import Axes, framed
from gradcam_hooks.results.drawing.style import Style
from gradcam_hooks.results.drawing.subject import Subject

__all__ = ["Plane"]

_ALIKE = 0.02
"""By how much the proportions of a picture may differ from those of what was explained."""

_LEAST = 192
"""The shorter side of a picture with axes, in pixels at least."""


@dataclass(frozen=True)
class Plane:
    """A picture to draw on.

    Attributes:
        image: RGB, 8-bit or floats in [0, 1], ``(height, width, 3)``.
        geometry: where maps lie on it.
    """

    image: Floats | Bytes
    geometry: Geometry
    side: ClassVar[int] = 288

    @property
    def pixels(self) -> Floats:
        """The picture in floats in [0, 1]."""
        return floats(self.image)

    @classmethod
    def of(cls, subject: Subject, space: Sequence[int]) -> Plane:
        """The ground for maps of ``space``, which is ``(height, width)``.

        Raises:
            InputError: there is no picture to draw on, or it is of no known kind.
        """
        picture = subject.picture if isinstance(subject.picture, Picture) else None
        if subject.given is not None:
            pixels = _read(subject.given)
        elif picture is not None:
            pixels = _read(picture.image)
        else:
            pixels = _displayed(subject.tensor)
        size, seen = (pixels.shape[0], pixels.shape[1]), (space[0], space[1])
        if picture is not None and picture.geometry.original == size:
            return cls(pixels, picture.geometry)
        if subject.given is not None:
            _check_proportions(size, seen if picture is None else picture.geometry.original)
        if picture is not None:
            return cls(pixels, picture.geometry.resized(size))
        return cls(pixels, Geometry.stretched(size, seen))

    def bare(self) -> Floats:
        """The picture alone."""
        return self.pixels

    def draw(self, heat: Tensor, style: Style) -> Floats:
        """A map ``(height, width)`` laid over the picture, with the marks that are asked for.

        With axes, values grow upwards, and a small picture is enlarged by a whole number so that
        the letters fit.
        """
        style.flat("a picture")
        drawn = self._laid(heat, style)
        return drawn if style.axes is None else _with_axes(drawn, style.axes)

    def painted(self, heat: Tensor, style: Style) -> Bytes | None:
        """What `draw` draws, in 8 bits and far faster; None where it is more than map and picture.

        Of a picture that is 8-bit, without marks and axes.
        """
        image = self.image
        if image.dtype != np.uint8 or style.boxes or style.contours or style.axes is not None:
            return None
        style.flat("a picture")
        placed, seen = self.geometry.place(heat), self.geometry.seen_mask()
        return paint(image.astype(np.uint8, copy=False), placed, style.weight, style.colours, seen)

    def _laid(self, heat: Tensor, style: Style) -> Floats:
        """The same without axes."""
        placed, seen = self.geometry.place(heat), self.geometry.seen_mask()
        weight = style.weight(placed)
        drawn = blend(self.pixels, placed, alpha=weight, colormap=style.colours, seen=seen)
        if not (style.boxes or style.contours):
            return drawn
        from gradcam_hooks.images.marks import mark

        high = regions.mask(placed, style, seen)
        boxes = regions.boxes(high, min_area=style.min_area) if style.boxes else []
        lines = regions.contours(high, min_area=style.min_area) if style.contours else []
        return mark(drawn, boxes, lines)


def _check_proportions(size: tuple[int, int], seen: tuple[int, int]) -> None:
    """Raise where a picture to draw on has other proportions than what was explained."""
    ratio = size[0] * seen[1] / (size[1] * seen[0])
    tall, wide = abs(ratio - 1) * min(seen), abs(1 / ratio - 1) * min(seen)
    if min(tall, wide) > 1 and abs(ratio - 1) > _ALIKE:
        raise InputError(
            f"the picture to draw on is {size[0]}x{size[1]} (height x width) and what was "
            f"explained {seen[0]}x{seen[1]}: whether it was cropped, padded or squashed is not "
            "known here. Explain the picture itself, with preprocess= what makes its tensor; or "
            f"draw on what the network saw, such as picture.resize(({seen[1]}, {seen[0]}))."
        )


def _with_axes(drawn: Floats, axes: Axes) -> Floats:
    """The picture in a frame of ticks, turned over where its first row has the lower value."""
    from gradcam_hooks.images.lettering import letters

    if axes.names is not None:
        raise InputError("names= are of the channels of a signal; of a picture leave them out.")
    x, y = axes.across(drawn.shape[1]), axes.y
    if y is not None and y[0] < y[1]:
        drawn = drawn[::-1]
    elif y is not None:
        y = (y[1], y[0], y[2])
    large = enlarged(drawn, _LEAST)
    return framed(large, x, y, letters((large.shape[0], large.shape[1])))


def _read(image: object) -> Floats | Bytes:
    """Whatever the user draws on as RGB, 8-bit or floats in [0, 1], ``(height, width, 3)``."""
    from PIL import Image

    from gradcam_hooks.images import load_image

    if isinstance(image, str | Path | Image.Image):
        return np.asarray(load_image(image))
    if isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[2] == 3:
        return image if image.dtype == np.uint8 else image.astype(np.float32)
    shape = f" of shape {image.shape}" if isinstance(image, np.ndarray) else ""
    raise InputError(
        "draw on a PIL image, a path, or an RGB array (height, width, 3), "
        f"not on {type(image).__name__}{shape}."
    )


def _displayed(image: Tensor | None) -> Floats:
    """A tensor scaled to [0, 1] for the eye, ``(height, width, 3)``."""
    if image is None or image.ndim != 3 or image.shape[0] not in (1, 3):
        raise InputError(
            "there is no picture to draw on: the input was no tensor (batch, 1 or 3, height, "
            "width). Pass one: result.overlay(image)."
        )
    pixels = image.detach().float().cpu()
    low, high = pixels.amin(), pixels.amax()
    scaled = (pixels - low) / (high - low) if high > low else torch.zeros_like(pixels)
    return scaled.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()
