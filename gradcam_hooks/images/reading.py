"""Pictures: read as upright RGB, and made ready for a network with their geometry.

A picture in any mode and depth becomes the RGB a person sees in a viewer, or there is an error
that names the file; a half-read picture never passes. `Preprocess` is torchvision's usual
transform to the bit, and hands back a `Geometry` that leads from the network's input to the
original. Pillow and torchvision are imported where they are used.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import torch

from gradcam_hooks.checks import check_count, check_one_of
from gradcam_hooks.errors import ImageError, InputError
from gradcam_hooks.images.bands import Bands, bands_of, carrying, read_npy, read_tiff
from gradcam_hooks.images.files import nearest_file, no_file, readable_formats
from gradcam_hooks.images.geometry import Geometry
from gradcam_hooks.images.limits import allowed
from gradcam_hooks.images.scan import Scan
from gradcam_hooks.images.volumes import is_scan, load_scan

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Fit",
    "ImageSource",
    "Preprocess",
    "load_image",
]

ImageSource: TypeAlias = "str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | Scan"
"""A picture: a file by its path, its bytes or opened, or one that Pillow has opened."""

Fit: TypeAlias = Literal["squash", "crop", "letterbox"]
Interpolation: TypeAlias = Literal["bilinear", "bicubic"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


_BYTES = 16
"""Bytes of a file for each of these pixels at most; no format needs more."""


def load_image(source: ImageSource, *, max_pixels: int | None = None) -> Image.Image:
    """A picture as upright 8-bit RGB, as a viewer shows it.

    EXIF orientation is applied; of several frames the first is taken; colour profiles are
    ignored, as torchvision does. Transparency (a channel, a palette entry or a colour key) is
    composited on white. Deep grey is scaled, not clipped: 16-bit by 1/257; 32-bit integers
    ("I") by 1/257 where all lie in 0..65535, which is how 16-bit files often arrive; floats
    ("F") by 255 where all lie in [0, 1], and as they are where all lie in [0, 255]; any other
    range by its own minimum and maximum. What it holds beyond that, 16 bits, a fourth channel, the
    bands of a TIFF (tifffile, where it is installed) or of an array in NPY, it carries along, for
    a `Preprocess` of as many channels. Of a scan, NIfTI or DICOM, it is the slice in the middle.

    Only formats that Pillow decodes itself are read, no PostScript, which it would hand to
    Ghostscript; and a file only where its head says that its pixels are within the limit.

    Args:
        source: a file by its path, its bytes, or opened in binary; or a picture that Pillow has
            opened.
        max_pixels: of a file at most, with 16 bytes of it for each; by default 64 million, or what
            the command was allowed.

    Returns:
        A new picture of mode "RGB" that carries no metadata: what it said has been done.

    Raises:
        ImageError: there is no such file, it is a folder, a pipe or a device, empty, no picture,
            cut short, or too large to be read safely.
        InputError: `source` is none of these.
    """
    from PIL import Image

    max_pixels = allowed(max_pixels)
    if is_scan(source):
        scan = source if isinstance(source, Scan) else load_scan(source, max_pixels=max_pixels)
        return scan.slice()
    if isinstance(source, Image.Image):
        if bands_of(source) is not None:
            return source
        return _decoded(source, getattr(source, "filename", "") or "the picture")
    if isinstance(source, bytes | bytearray | memoryview):
        name = f"the picture of {len(source)} bytes"
        return _opened(io.BytesIO(source), name, max_pixels)
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        _check_file(path, max_pixels)
        suffix = path.suffix.lower()
        if suffix == ".npy":
            return read_npy(path, str(path), max_pixels)
        held = read_tiff(path, str(path), max_pixels) if suffix in (".tif", ".tiff") else None
        if isinstance(held, Bands):
            return carrying(_opened(path, str(path), max_pixels), held)
        if held is not None:
            return held
        return _opened(path, str(path), max_pixels)
    if hasattr(source, "read") and not isinstance(source, Scan):
        return _opened(source, str(getattr(source, "name", "the opened file")), max_pixels)
    raise InputError(
        "expected a path, bytes, an opened file or a PIL picture, got "
        f"{type(source).__name__}; PIL.Image.fromarray makes a picture of an 8-bit array"
    )


def _opened(file: Path | IO[bytes], name: str, max_pixels: int) -> Image.Image:
    from PIL import Image

    try:
        with Image.open(file, formats=readable_formats()) as opened:
            if opened.width * opened.height > max_pixels:
                size = f"{opened.width} x {opened.height} pixels, and {max_pixels:,} are the limit"
                raise _too_large(name, size)
            return _decoded(opened, name)
    except ImageError:
        raise
    except Exception as error:
        raise _unreadable(name, error) from error


def _check_file(path: Path, max_pixels: int) -> None:
    """The path is a file, and neither empty nor far too long.

    Raises:
        ImageError: it is not.
    """
    if reason := no_file(path):
        if reason == "is not there":
            raise ImageError(f"no file '{path}'{nearest_file(path)}")
        hint = "; list_images lists those in it" if reason == "is a folder" else ""
        raise ImageError(f"'{path}' {reason}, expected one picture{hint}")
    size = path.stat().st_size
    if size == 0:
        raise ImageError(f"'{path}' is empty (0 bytes), expected a picture; copy it here again")
    if size > (most := _BYTES * max_pixels):
        raise _too_large(str(path), f"{size:,} bytes, and {most:,} are the limit")


def _too_large(name: str, told: str) -> ImageError:
    return ImageError(
        f"'{name}' is too large to be read safely: {told}. Scale it down first, or, if you trust "
        "it, allow more: --max-pixels; in Python max_pixels= and PIL.Image.MAX_IMAGE_PIXELS"
    )


def _decoded(image: Image.Image, name: str) -> Image.Image:
    """Read all pixels, turn upright, make RGB."""
    from PIL import ImageOps

    if image.format is not None and image.format not in readable_formats():
        raise ImageError(
            f"'{name}' is {image.format}, which Pillow hands to another program: convert it first"
        )
    try:
        image.load()
        rgb = _to_rgb(ImageOps.exif_transpose(image), name)
    except ImageError:
        raise
    except Exception as error:  # damaged files make Pillow raise nearly everything
        raise _unreadable(name, error) from error
    rgb.info = {}  # orientation and transparency must not be applied a second time
    return rgb


def _unreadable(name: str, error: Exception) -> ImageError:
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return _too_large(name, str(error).rstrip("."))
    if isinstance(error, UnidentifiedImageError) and name.lower().endswith((".heic", ".heif")):
        return ImageError(f"'{name}' is HEIC, which pillow-heif reads: pip install pillow-heif")
    if isinstance(error, UnidentifiedImageError):
        return ImageError(
            f"'{name}' is no picture that Pillow knows, whatever its suffix says; "
            "expected JPEG, PNG, WebP, TIFF, BMP, GIF or the like: convert it, or leave it out"
        )
    if isinstance(error, PermissionError):
        return ImageError(f"'{name}' may not be read: {error.strerror}; change its permissions")
    return ImageError(
        f"'{name}' is cut short or damaged: {error}; nothing of it is used. Copy it here again, "
        "or open and save it in another program"
    )


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    from PIL import Image

    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        grey = _deep_grey(image, name)
        rgb = Image.fromarray(np.floor(grey + 0.5).astype(np.uint8)).convert("RGB")
        return carrying(rgb, Bands((grey[None] / 255).astype(np.float32)))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        rgb = Image.alpha_composite(white, rgba).convert("RGB")
        return carrying(rgb, _four(rgba)) if image.mode == "RGBA" else rgb
    rgb = image.convert("RGB")
    return carrying(rgb, _four(image)) if image.mode == "CMYK" else rgb


def _four(image: Image.Image) -> Bands:
    return Bands(np.asarray(image, np.float32).transpose(2, 0, 1) / 255)


def _deep_grey(image: Image.Image, name: str) -> npt.NDArray[np.float64]:
    """16- and 32-bit grey in [0, 255], by the rules told in `load_image`."""
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise ImageError(
            f"'{name}' holds pixels that are NaN or infinite; replace them, and save it again"
        )
    low, high = float(values.min()), float(values.max())
    if image.mode != "F" and low >= 0 and high <= 65535:
        grey = values / 257
    elif image.mode == "F" and low >= 0 and high <= 1:
        grey = values * 255
    elif image.mode == "F" and low >= 0 and high <= 255:
        grey = values
    else:
        grey = (values - low) / ((high - low) or 1.0) * 255
    transparent = image.info.get("transparency")
    if isinstance(transparent, (int, float)):
        grey[values == transparent] = 255
    return grey


@dataclass(frozen=True)
class Preprocess:
    """A picture made ready for a network: sized, float, normalised.

    - "squash": stretched to `size`; equals torchvision's `Resize(size)`.
    - "crop": the shorter side resized to `resize`, then the centre of `size` cut out; equals
      `Resize(resize)` and `CenterCrop(size)`.
    - "letterbox": resized to fit into `size` with its proportions kept, and padded on both
      sides with the mean colour (0 after normalising).

    All with antialias, then `ToTensor` and `Normalize(mean, std)`. Plain data: `to_dict` gives
    it for JSON, and `Preprocess(**fields)` takes it back.

    Attributes:
        size: height and width of the network's input.
        fit: how the picture is made to fit.
        resize: for "crop", the shorter side before cropping; by default 256/224 of the longer
            side of `size`. It may not be less than that side: a crop has no padding.
        mean: of R, G, B, in [0, 1]; of one number for a network of grey pictures, or of as many
            as its bands are.
        std: of as many.
        interpolation: of the resizing.

    Raises:
        InputError: a field is of the wrong kind, or out of its range.
    """

    size: tuple[int, int] = (224, 224)
    fit: Fit = "squash"
    resize: int | None = None
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        if not (isinstance(self.size, Sequence) and len(self.size) == 2):
            raise InputError(f"size must be (height, width), such as (224, 224); got {self.size!r}")
        sides = [check_count(one, "each number of size=", error=InputError) for one in self.size]
        object.__setattr__(self, "size", tuple(sides))
        for name, kind in (("fit", Fit), ("interpolation", Interpolation)):
            check_one_of(getattr(self, name), name, get_args(kind), error=InputError)
        for name in ("mean", "std"):
            object.__setattr__(self, name, _channels(name, getattr(self, name)))
        if len(self.mean) != len(self.std):
            raise InputError(
                f"mean and std are of as many channels; got {self.mean!r} and {self.std!r}"
            )
        if min(self.std) <= 0:
            raise InputError(f"std divides the pixels and must be positive; got {self.std!r}")
        if self.resize is None:
            return
        if self.fit != "crop":
            raise InputError(f"resize is for fit='crop'; with fit={self.fit!r} leave it out")
        what = f"resize=, the shorter side before the crop of {self.size},"
        check_count(self.resize, what, least=max(self.size), error=InputError)

    def __call__(self, image: Image.Image) -> tuple[torch.Tensor, Geometry]:
        """The network's input, float32 `(channels, height, width)`, and where it lies.

        A picture that is not upright RGB yet goes through `load_image` first.
        """
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms import functional as F  # noqa: N812  (its usual name)

        rgb = load_image(image)
        original = (rgb.height, rgb.width)
        picture = self._picture(rgb)
        resized = F.resize(picture, self._resized(original), InterpolationMode(self.interpolation))
        width, height = F.get_image_size(resized)
        # As torchvision's CenterCrop rounds; negative where the letterbox is padded.
        top = round((height - self.size[0]) / 2)
        left = round((width - self.size[1]) / 2)
        scale = (original[0] / height, original[1] / width)
        geometry = Geometry(original, self.size, scale, (top * scale[0], left * scale[1]))
        if self.fit == "crop":
            resized = F.crop(resized, top, left, *self.size)
        numbers = resized if isinstance(resized, torch.Tensor) else F.to_tensor(resized)
        pixels: torch.Tensor = F.normalize(numbers, self.mean, self.std)
        if self.fit == "letterbox":
            canvas = torch.zeros(len(pixels), *self.size)
            canvas[:, -top : height - top, -left : width - left] = pixels
            return canvas, geometry
        return pixels, geometry

    def _picture(self, rgb: Image.Image) -> Image.Image | torch.Tensor:
        """The picture in as many channels as the network takes; its bands where these are so many.

        Raises:
            InputError: it has others.
        """
        bands, count = bands_of(rgb), len(self.mean)
        if bands is not None and len(bands.values) == count:
            return torch.from_numpy(bands.values)
        if count not in (1, 3) or not (bands is None or bands.seen):
            has = 3 if bands is None else len(bands.values)
            raise InputError(
                f"the picture has {has} channels, and the network takes {count}. Bring one that "
                "has them (a .npy array, or a TIFF, which tifffile reads), or pass preprocess= or "
                "the tensor."
            )
        return rgb.convert("L") if count == 1 else rgb

    def __str__(self) -> str:
        """In words.

        >>> print(Preprocess(fit="crop"))
        crop to 224 x 224 out of 256, bilinear, mean 0.485, 0.456, 0.406, std 0.229, 0.224, 0.225
        """
        out_of = f" out of {self.shorter}" if self.fit == "crop" else ""
        mean, std = (", ".join(f"{one:g}" for one in many) for many in (self.mean, self.std))
        size = " x ".join(map(str, self.size))
        return f"{self.fit} to {size}{out_of}, {self.interpolation}, mean {mean}, std {std}"

    @property
    def shorter(self) -> int:
        """For "crop", the shorter side in pixels before cropping, `resize` or its default.

        >>> Preprocess(fit="crop").shorter
        256
        """
        return self.resize or round(max(self.size) * 256 / 224)

    def _resized(self, original: tuple[int, int]) -> list[int]:
        """What torchvision's resize is told: both sides, or the shorter one alone."""
        if self.fit == "squash":
            return list(self.size)
        if self.fit == "crop":
            return [self.shorter]
        ratio = min(self.size[0] / original[0], self.size[1] / original[1])
        return [max(1, round(side * ratio)) for side in original]

    def to_dict(self) -> dict[str, str | int | list[int] | list[float] | None]:
        """The fields, ready for JSON; `Preprocess(**fields)` takes them back."""
        return {
            "size": list(self.size),
            "fit": self.fit,
            "resize": self.resize,
            "mean": list(self.mean),
            "std": list(self.std),
            "interpolation": self.interpolation,
        }


def _channels(name: str, value: Sequence[float]) -> tuple[float, ...]:
    try:
        numbers = tuple(float(number) for number in value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be numbers, for R, G and B; got {value!r}") from error
    if not numbers:
        raise InputError(f"{name} must be a number for each channel of the input; got {value!r}")
    if not all(map(math.isfinite, numbers)):
        raise InputError(f"{name} must be finite; got {value!r}")
    if max(map(abs, numbers)) > 2 and len(numbers) in (1, 3):
        meant = ", ".join(f"{number / 255:.3g}" for number in numbers)
        raise InputError(
            f"{name} is of pixels in [0, 1], and {value!r} is of pixels up to 255: write {meant}"
        )
    return numbers
