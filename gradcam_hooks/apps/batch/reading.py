"""Reading: one picture of a folder, made ready for the network and for the drawing.

What is read can be sent to a worker process and back. The picture that is drawn on is made as
small as the overlay is to be at once, so that no more than that is kept and sent. This file knows
pictures: no network, no folder of results.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from gradcam_hooks.apps.batch.plan import Task
from gradcam_hooks.errors import GradCamHooksError, ImageError
from gradcam_hooks.images.given import Pictured, Prepare, View, ready
from gradcam_hooks.images.pictures import Picture
from gradcam_hooks.images.scan import plane_of
from gradcam_hooks.images.sizes import smaller

__all__ = ["Reading", "Ready"]


@dataclass(frozen=True)
class Ready:
    """A picture that was read and made ready.

    Attributes:
        task: which it is.
        pixels: the network's input.
        picture: what the maps are drawn on.
        geometry: where the input lies on the picture as it is in its file; None of a scan.
        told: what was done in reading it, in sentences.
    """

    task: Task
    pixels: Tensor
    picture: Pictured
    geometry: dict[str, list[int] | list[float]] | None
    told: tuple[str, ...]


@dataclass(frozen=True)
class Reading:
    """How the pictures of a job are read.

    Attributes:
        prepare: what makes inputs of them.
        view: what of a scan is looked at.
        max_pixels: of a picture at most.
        side: the longer side at most of what is drawn on; None for all of it.
    """

    prepare: Prepare
    view: View
    max_pixels: int
    side: int | None = None

    def __call__(self, task: Task) -> Ready:
        """The picture of a task.

        Raises:
            ImageError: it cannot be read or made ready; the text says all.
        """
        pixels, picture = self._read(task.path)
        geometry = picture.geometry.to_dict() if isinstance(picture, Picture) else None
        return Ready(task, pixels, bounded(picture, self.side), geometry, picture.told)

    def _read(self, path: Path) -> tuple[Tensor, Pictured]:
        try:
            return ready(path, self.prepare, self.view, self.max_pixels)
        except (GradCamHooksError, ImportError) as error:
            raise ImageError(str(error)) from error
        except Exception as error:  # of odd proportions, torchvision and Pillow raise anything
            raise ImageError(f"cannot be made ready: {type(error).__name__}: {error}") from error


def bounded(picture: Pictured, side: int | None) -> Pictured:
    """The picture with its longer side at most ``side`` pixels, and the input's place on it.

    A scan and its slices stay as they are: their maps are saved on the scan's own grid.
    """
    if side is None or not isinstance(picture, Picture) or plane_of(picture.image) is not None:
        return picture
    small = smaller(picture.image, side)
    if small is picture.image:
        return picture
    return Picture(small, picture.geometry.resized((small.height, small.width)))
