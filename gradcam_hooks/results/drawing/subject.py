"""What a map is drawn on: plain data that every kind of ground takes.

Knows pictures and tensors as they came in; what becomes of them is the grounds' matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import Tensor

from gradcam_hooks.images.colors import Floats
from gradcam_hooks.images.painting import Bytes
from gradcam_hooks.images.pictures import Picture
from gradcam_hooks.images.volumes import ScanPicture
from gradcam_hooks.results.drawing.style import Style

__all__ = ["Ground", "Subject"]


@dataclass(frozen=True)
class Subject:
    """What the maps of one input can be drawn on, as far as it is known.

    Attributes:
        given: what the user names to draw on; it goes before all else.
        picture: the picture or the scan that was explained.
        tensor: the input itself, ``(channels, *space)``.
    """

    given: object = None
    picture: Picture | ScanPicture | None = None
    tensor: Tensor | None = None


class Ground(Protocol):
    """Something that maps of one rank are drawn on.

    Attributes:
        side: how long its longer side is in a page, in pixels at most.
    """

    side: ClassVar[int]

    def bare(self) -> Floats:
        """What is below the maps, alone: RGB in [0, 1], ``(height, width, 3)``."""
        ...

    def draw(self, heat: Tensor, style: Style) -> Floats:
        """One map ``(*space)`` drawn on it: RGB in [0, 1], ``(height, width, 3)``."""
        ...

    def painted(self, heat: Tensor, style: Style) -> Bytes | None:
        """The same in 8 bits, where there is a faster way to it; else None."""
        return None
