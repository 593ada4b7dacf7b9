"""What a user gives for a picture: a path, bytes, an opened file, a PIL image, an RGB array, a
scan, or a list of these; and what makes inputs of them.

They become one tensor for the network, and the pictures or scans that its maps lie on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gradcam_hooks.errors import InputError
from gradcam_hooks.images.geometry import Geometry
from gradcam_hooks.images.nifti import is_image
from gradcam_hooks.images.pictures import Picture
from gradcam_hooks.images.scan import Scan
from gradcam_hooks.images.volumes import ScanPicture, Volumes, is_scan, load_scan

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "Pictured",
    "Prepare",
    "PrepareSpec",
    "View",
    "as_prepare",
    "input_shape",
    "is_picture",
    "prepared",
    "ready",
    "stacked",
    "with_pictures",
]

_CUBE = (64, 64, 64)
"""A scan, where none is at hand."""

Prepare = Callable[["Image.Image"], tuple[Tensor, Geometry]] | Volumes
"""What makes an input of a picture, as a `Preprocess` does, or of a scan."""

Pictured = Picture | ScanPicture
"""What maps lie on."""

PrepareSpec = Callable[..., object]
"""A `Preprocess`, or any callable from a PIL picture to a tensor, torchvision's, timm's,
transformers', albumentations' or one's own."""


@dataclass(frozen=True)
class View:
    """What of a scan is looked at.

    Attributes:
        window: centre and width that become 0 to 1, what lies beyond being clipped; None for all.
        slice: which slice a network of pictures is given; None for the one in the middle.
    """

    window: tuple[float, float] | None = None
    slice: int | None = None


def as_prepare(given: PrepareSpec, volumes: int | None = None) -> Prepare:
    """What makes an input of a picture, by whatever the user gave for it.

    Args:
        given: what the user gave.
        volumes: how many channels the network's volumes have; None where it takes pictures.

    Raises:
        InputError: it is nothing that can be called.
    """
    from gradcam_hooks.images.foreign import Located
    from gradcam_hooks.images.reading import Preprocess

    if isinstance(given, Preprocess | Volumes):
        return given
    if volumes is not None and callable(given):
        return Volumes(volumes, given=getattr(given, "given", given))
    return given if isinstance(given, Located) else Located(given)


def input_shape(prepare: Prepare) -> tuple[int, ...]:
    """The shape ``(channels, height, width)`` of the inputs that are made of square pictures."""
    from PIL import Image

    from gradcam_hooks.images.reading import Preprocess

    if isinstance(prepare, Preprocess):
        return len(prepare.mean), *prepare.size
    if isinstance(prepare, Volumes):
        cube = torch.zeros(prepare.channels, *_CUBE)
        made, _ = prepare(Scan(cube.numpy(), np.eye(4), span=(0.0, 1.0)))
        return tuple(made.shape)
    pixels, _ = prepare(Image.effect_mandelbrot((256, 256), (-2, -1.5, 1, 1.5), 100).convert("RGB"))
    return tuple(pixels.shape)


def is_picture(given: object) -> bool:
    """Whether it is a picture, or a list of nothing else."""
    if isinstance(given, list | tuple):
        return bool(given) and all(is_picture(one) for one in given)
    if isinstance(given, str | PathLike | bytes | bytearray | Scan) or hasattr(given, "read"):
        return True
    if is_image(given):
        return True
    if isinstance(given, np.ndarray):
        return given.dtype == np.uint8 and given.ndim in (2, 3)
    return _is_opened(given)


def _is_opened(given: object) -> bool:
    # Without an import of Pillow: whoever hands over one of its images has imported it.
    return any(kind.__module__ == "PIL.Image" for kind in type(given).__mro__)


def _beside(given: object) -> object:
    """Where an opened picture is in a list or a dict that holds other things too; else None."""
    if isinstance(given, Mapping):
        parts = list(given.items())
    else:
        parts = list(enumerate(given)) if isinstance(given, list | tuple) else []
    opened = (where for where, one in parts if _is_opened(one))
    return next(opened, None)


def ready(
    given: object, prepare: Prepare, view: View | None = None, max_pixels: int | None = None
) -> tuple[Tensor, Pictured]:
    """The input of one picture or scan, and what its map lies on.

    Raises:
        ImageError, InputError: it cannot be read or made ready.
    """
    view = view or View()
    if isinstance(given, np.ndarray):
        from PIL import Image

        if given.ndim == 3 and given.shape[-1] not in (3, 4):
            raise InputError(_no_rgb(given))
        given = Image.fromarray(given)
    if is_scan(given):
        scan = given if isinstance(given, Scan) else load_scan(given, max_pixels=max_pixels)
        if view.window is not None:
            scan = scan.windowed(*view.window)
        if isinstance(prepare, Volumes):
            volume, place = prepare(scan)
            return volume, ScanPicture(scan, place)
        given = scan.slice(view.slice)
    from gradcam_hooks.images.reading import load_image

    image = load_image(given, max_pixels=max_pixels)  # type: ignore[arg-type]  # is_picture
    if isinstance(prepare, Volumes):
        prepare(image)
        raise AssertionError("a picture is no scan")
    pixels, geometry = prepare(image)
    return pixels, Picture(image, geometry)


def _no_rgb(given: np.ndarray) -> str:
    told = f"a picture is an array (height, width, 3) or (height, width), not {given.shape}. "
    if given.shape[0] in (3, 4):
        return f"{told}Its channels are first: pass array.transpose(1, 2, 0)."
    if 1 in (given.shape[0], given.shape[-1]):
        return f"{told}Pass array{'[0]' if given.shape[0] == 1 else '[..., 0]'}."
    return (
        f"{told}What has other bands goes in as the network takes it, such as "
        "torch.from_numpy(array).float() with the batch and the channels first; several pictures "
        "are a list of arrays."
    )


def prepared(given: object, prepare: Prepare) -> tuple[Tensor, tuple[Pictured, ...]]:
    """The tensor ``(batch, channels, *space)`` of what `is_picture`, and the pictures.

    Raises:
        ImageError, InputError: a picture cannot be read or made ready, or they differ in size.
    """
    each = given if isinstance(given, list | tuple) else [given]
    tensors, pictures = zip(*[ready(one, prepare) for one in each], strict=True)
    return stacked(tensors), pictures


def stacked(tensors: Sequence[Tensor]) -> Tensor:
    """The inputs that pictures became as a batch.

    Raises:
        InputError: they differ in size.
    """
    if len({tensor.shape for tensor in tensors}) > 1:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors)
        raise InputError(
            f"inputs of one batch have one size, and these pictures became {shapes}. Explain them "
            "one by one, or let preprocess= bring them to one size."
        )
    return torch.stack(list(tensors))


def with_pictures(
    inputs: Sequence[object], prepare: Callable[[], Prepare], like: Tensor
) -> tuple[list[object], dict[object, tuple[Pictured, ...]]]:
    """A forward's arguments in which pictures became tensors, and the pictures by their position.

    Args:
        inputs: the arguments; what `is_picture` is not is handed on.
        prepare: tells what makes inputs of pictures; asked where there is one.
        like: a tensor of the device and the precision that the inputs are to have.

    Raises:
        ImageError, InputError: as `prepared`, and where a picture is among other things.
    """
    args = list(inputs)
    pictures: dict[object, tuple[Pictured, ...]] = {}
    for index, given in enumerate(inputs):
        if is_picture(given):
            tensor, pictures[index] = prepared(given, prepare())
            args[index] = tensor.to(like)
        elif (where := _beside(given)) is not None:
            raise InputError(
                f"a picture is given alone, and here it is [{where!r}] of a "
                f"{type(given).__name__} with other things. Of a pair of a picture and its class, "
                "or of a data set's item, pass the picture: explain(model, picture)."
            )
    return args, pictures
