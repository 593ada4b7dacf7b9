"""A picture and where a network's input lies on it, kept together.

Knows pictures and geometry: no map, no model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradcam_hooks.images.bands import bands_of
from gradcam_hooks.images.geometry import Geometry

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
