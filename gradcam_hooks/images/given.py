"""What a user gives for a picture: a path, a PIL image, an RGB array, or a list of these.

They become one tensor for the network, and the pictures that its maps lie on.
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gradcam_hooks.images.geometry import Geometry
from gradcam_hooks.images.pictures import Picture

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Prepare", "is_picture", "prepared"]

Prepare = Callable[["Image.Image"], tuple[Tensor, Geometry]]
"""What makes an input of a picture; a `Preprocess` is such a function."""


def is_picture(given: object) -> bool:
    """Whether it is a picture, or a list of nothing else."""
    if isinstance(given, list | tuple):
        return bool(given) and all(is_picture(one) for one in given)
    if isinstance(given, str | PathLike):
        return True
    if isinstance(given, np.ndarray):
        return given.dtype == np.uint8 and given.ndim in (2, 3)
    # Without an import of Pillow: whoever hands over one of its images has imported it.
    return any(kind.__module__ == "PIL.Image" for kind in type(given).__mro__)


def prepared(given: object, prepare: Prepare | None) -> tuple[Tensor, tuple[Picture, ...]]:
    """The tensor ``(batch, 3, height, width)`` of what `is_picture`, and the pictures."""
    from gradcam_hooks.images.reading import Preprocess

    ready = prepare or Preprocess()
    loaded = [_load(one) for one in (given if isinstance(given, list | tuple) else [given])]
    tensors, geometries = zip(*[ready(image) for image in loaded], strict=True)
    return torch.stack(tensors), tuple(map(Picture, loaded, geometries))


def _load(given: object) -> Image.Image:
    from PIL import Image

    from gradcam_hooks.images.reading import load_image

    if isinstance(given, np.ndarray):
        return load_image(Image.fromarray(given))
    assert isinstance(given, str | PathLike | Image.Image)  # is_picture let nothing else through
    return load_image(given)
