"""A picture and where a network's input lies on it, kept together.

Knows pictures and geometry: no map, no model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradcam_hooks.images.bands import Bands, bands_of, carrying
from gradcam_hooks.images.geometry import Geometry
from gradcam_hooks.images.scan import plane_of

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Picture"]


@dataclass(frozen=True)
class Picture:
    """The picture an input came from: its pixels before preprocessing, and the way back to them.

    Attributes:
        image: upright RGB, at its own size.
        geometry: where the network's input lies on it.
    """

    image: Image.Image
    geometry: Geometry

    @property
    def told(self) -> tuple[str, ...]:
        """What was done in reading it, in sentences."""
        bands = bands_of(self.image)
        return () if bands is None else bands.told

    def __reduce__(self) -> tuple[Callable[..., Picture], tuple[object, ...]]:
        """With what Pillow's pictures do not take along to another process."""
        return _again, (self.image, self.geometry, bands_of(self.image), plane_of(self.image))


def _again(image: Image.Image, geometry: Geometry, bands: Bands | None, plane: object) -> Picture:
    if bands is not None:
        carrying(image, bands)
    if plane is not None:
        image._plane = plane  # type: ignore[attr-defined]
    return Picture(image, geometry)
