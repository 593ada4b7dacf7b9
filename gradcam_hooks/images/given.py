"""What a user gives for a picture: a path, bytes, an opened file, a PIL image, an RGB array, or a
list of these; and what makes inputs of them.

They become one tensor for the network, and the pictures that its maps lie on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gradcam_hooks.errors import InputError
from gradcam_hooks.images.geometry import Geometry
from gradcam_hooks.images.pictures import Picture

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "Prepare",
    "PrepareSpec",
    "as_prepare",
    "input_shape",
    "is_picture",
    "prepared",
    "with_pictures",
]

Prepare = Callable[["Image.Image"], tuple[Tensor, Geometry]]
"""What makes an input of a picture; a `Preprocess` is such a function."""

PrepareSpec = Callable[..., object]
"""A `Preprocess`, or any callable from a PIL picture to a tensor, torchvision's, timm's,
transformers', albumentations' or one's own."""


def as_prepare(given: PrepareSpec) -> Prepare:
    """What makes an input of a picture, by whatever the user gave for it.

    Raises:
        InputError: it is nothing that can be called.
    """
    from gradcam_hooks.images.foreign import Located
    from gradcam_hooks.images.reading import Preprocess

    return given if isinstance(given, Preprocess | Located) else Located(given)


def input_shape(prepare: Prepare) -> tuple[int, ...]:
    """The shape ``(channels, height, width)`` of the inputs that are made of square pictures."""
    from PIL import Image

    from gradcam_hooks.images.reading import Preprocess

    if isinstance(prepare, Preprocess):
        return len(prepare.mean), *prepare.size
    pixels, _ = prepare(Image.effect_mandelbrot((256, 256), (-2, -1.5, 1, 1.5), 100).convert("RGB"))
    return tuple(pixels.shape)


def is_picture(given: object) -> bool:
    """Whether it is a picture, or a list of nothing else."""
    if isinstance(given, list | tuple):
        return bool(given) and all(is_picture(one) for one in given)
    if isinstance(given, str | PathLike | bytes | bytearray) or hasattr(given, "read"):
        return True
    if isinstance(given, np.ndarray):
        return given.dtype == np.uint8 and given.ndim in (2, 3)
    # Without an import of Pillow: whoever hands over one of its images has imported it.
    return any(kind.__module__ == "PIL.Image" for kind in type(given).__mro__)


def prepared(given: object, prepare: Prepare) -> tuple[Tensor, tuple[Picture, ...]]:
    """The tensor ``(batch, channels, height, width)`` of what `is_picture`, and the pictures.

    Raises:
        ImageError, InputError: a picture cannot be read or made ready, or they differ in size.
    """
    loaded = [_load(one) for one in (given if isinstance(given, list | tuple) else [given])]
    tensors, geometries = zip(*[prepare(image) for image in loaded], strict=True)
    if len({tensor.shape for tensor in tensors}) > 1:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors)
        raise InputError(
            f"inputs of one batch have one size, and these pictures became {shapes}. Explain them "
            "one by one, or let preprocess= bring them to one size."
        )
    return torch.stack(tensors), tuple(map(Picture, loaded, geometries))


def with_pictures(
    inputs: Sequence[object], prepare: Callable[[], Prepare], like: Tensor
) -> tuple[list[object], dict[object, tuple[Picture, ...]]]:
    """A forward's arguments in which pictures became tensors, and the pictures by their position.

    Args:
        inputs: the arguments; what `is_picture` is not is handed on.
        prepare: tells what makes inputs of pictures; asked where there is one.
        like: a tensor of the device and the precision that the inputs are to have.

    Raises:
        ImageError, InputError: as `prepared`.
    """
    args = list(inputs)
    pictures: dict[object, tuple[Picture, ...]] = {}
    for index, given in enumerate(inputs):
        if is_picture(given):
            tensor, pictures[index] = prepared(given, prepare())
            args[index] = tensor.to(like)
    return args, pictures


def _load(given: object) -> Image.Image:
    from PIL import Image

    from gradcam_hooks.images.reading import load_image

    if isinstance(given, np.ndarray):
        return load_image(Image.fromarray(given))
    return load_image(given)  # type: ignore[arg-type]  # is_picture let nothing else through
