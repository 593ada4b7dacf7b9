"""Bands: what a picture holds beyond eight bits and three colours.

Arrays in NPY, TIFF of any number of bands and of 16 bits, deep grey and a fourth channel become
numbers ``(channels, height, width)`` that a picture carries beside the RGB that people see; a
`Preprocess` of as many channels takes them. Knows arrays and files; tifffile is imported where it
is used and there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gradcam_hooks.errors import ImageError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Bands", "bands_of", "carrying", "read_npy", "read_tiff"]


_PAGES = 1024
"""Pages of a TIFF that may be bands of one picture at most: to group more takes minutes."""


@dataclass(frozen=True)
class Bands:
    """The numbers of a picture.

    Attributes:
        values: float32 ``(channels, height, width)``: integers divided by the largest of their
            kind, 255 or 65535, and floats as they are.
        seen: whether the picture's RGB tells all that a network of colours takes of it.
        told: what was done in reading it, in sentences.
    """

    values: npt.NDArray[np.float32]
    seen: bool = True
    told: tuple[str, ...] = ()


def bands_of(image: Image.Image) -> Bands | None:
    """What a picture carries; None of a usual one."""
    found = getattr(image, "_bands", None)
    return found if isinstance(found, Bands) else None


def carrying(image: Image.Image, bands: Bands) -> Image.Image:
    """The picture, with its numbers."""
    image._bands = bands  # type: ignore[attr-defined]
    return image


def read_npy(file: Path | IO[bytes], name: str, max_pixels: int) -> Image.Image:
    """The picture of an array in NPY: its first three bands, or its first as grey.

    Raises:
        ImageError: it is no array ``(height, width)``, ``(bands, height, width)`` or
            ``(height, width, bands)`` of real numbers that are finite, or is too large.
    """
    try:
        values = np.load(file, mmap_mode="r" if isinstance(file, Path) else None)
    except Exception as error:  # of a damaged head NumPy raises nearly everything
        raise ImageError(
            f"'{name}' is no array of numbers that NumPy reads: {error}; numpy.save writes one"
        ) from error
    if not isinstance(values, np.ndarray):  # several arrays, in an archive
        raise ImageError(f"'{name}' is an archive of arrays; save the picture's alone: numpy.save")
    return _shown(values, name, max_pixels)


def read_tiff(path: Path, name: str, max_pixels: int) -> Image.Image | Bands | None:
    """What a TIFF holds that Pillow does not read, where tifffile is installed.

    A picture where its bands are of one page, the bands alone where each is a page of its own;
    None where it holds a usual picture, or cannot be read.

    Raises:
        ImageError: unpacked it is larger than a file may be, or it holds numbers of no picture.
    """
    try:
        import tifffile
    except ImportError:
        return None
    try:
        with tifffile.TiffFile(path) as file:
            pages = len(file.pages)
            if pages > _PAGES:
                return None
            held = file.series[0]
            usual = held.dtype == np.uint8 and held.shape[2:] in ((), (3,), (4,))
            if held.ndim != 3 or (usual and pages == 1 and held.shape[2:]):
                return None
            small = math.prod(held.shape) * held.dtype.itemsize <= 16 * max_pixels
            values = held.asarray() if small else None
    except Exception:  # whatever is wrong with the file, Pillow's reader says it
        return None
    if values is None:
        raise ImageError(f"'{name}' is too large to be read safely: {held.shape}; scale it down")
    return (_of_planes if pages > 1 else _shown)(values, name, max_pixels)


def _shown(values: npt.NDArray[np.generic], name: str, max_pixels: int) -> Image.Image:
    from PIL import Image

    last = values.ndim == 3 and values.shape[2] < values.shape[0]
    # Bands are fewer than pixels in a row.
    bands = _of_planes(values.transpose(2, 0, 1) if last else values, name, max_pixels)
    first = bands.values[: 3 if len(bands.values) >= 3 else 1]
    if values.dtype.kind == "f" and not (first.min() >= 0 and first.max() <= 1):
        low, high = first.min((1, 2), keepdims=True), first.max((1, 2), keepdims=True)
        with np.errstate(over="ignore"):  # a range beyond float32 is a flat picture
            first = (first - low) / np.where(high > low, high - low, 1)
    grey = np.floor(first * 255 + 0.5).astype(np.uint8)
    colours = np.ascontiguousarray(np.broadcast_to(grey, (3, *grey.shape[1:])).transpose(1, 2, 0))
    return carrying(Image.fromarray(colours), bands)


def _of_planes(values: npt.NDArray[np.generic], name: str, max_pixels: int) -> Bands:
    """The numbers of planes ``(bands, height, width)``, or of one.

    Raises:
        ImageError: they are no real and finite numbers, or too many.
    """
    if values.ndim not in (2, 3) or values.dtype.kind not in "buif" or not values.size:
        raise ImageError(
            f"'{name}' holds {values.dtype} of shape {values.shape}; expected real numbers "
            "(height, width), (bands, height, width) or (height, width, bands)"
        )
    if values.size > 16 * max_pixels:
        raise ImageError(f"'{name}' is too large to be read safely: {values.shape}; scale it down")
    planes = values[None] if values.ndim == 2 else values
    bands = Bands(_scaled(planes), seen=len(planes) in (1, 3))
    if not np.isfinite(bands.values).all():
        raise ImageError(
            f"'{name}' holds pixels that are NaN or infinite; replace them, and save it again"
        )
    return bands


def _scaled(values: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    most = float(np.iinfo(values.dtype.str).max) if values.dtype.kind in "ui" else 1.0
    with np.errstate(all="ignore"):  # what becomes infinite is told
        found: npt.NDArray[np.float32] = np.divide(values, most, dtype=np.float32, casting="unsafe")
    return found
