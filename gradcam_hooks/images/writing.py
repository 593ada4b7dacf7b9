"""Pictures written: RGB to a file, whole or not at all, in whatever format its suffix says.

Knows pixels and files. Pillow is imported where it is used.
"""

from __future__ import annotations

import base64
import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gradcam_hooks.errors import ImageError, InputError
from gradcam_hooks.images.colors import to_float, to_uint8
from gradcam_hooks.images.encoding import png
from gradcam_hooks.images.files import write_whole

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["save_image"]


def save_image(path: str | os.PathLike[str], rgb: npt.ArrayLike | Image.Image) -> None:
    """Write a picture, whole or not at all; the suffix says the format.

    JPEG and WebP are written at quality 95, JPEG without colour subsampling, which would smear
    the edges of a heat map; all others as they are, also PDF and SVG, as large as the picture.

    Args:
        path: where to; missing folders are created.
        rgb: floats in [0, 1], `(height, width, 3)`; or a Pillow picture of mode "RGB".

    Raises:
        ImageError: Pillow writes no such format, or the file cannot be written.
        InputError: the array is not RGB in [0, 1].
    """
    from PIL import Image

    path = Path(path)
    pixels = np.asarray(rgb) if isinstance(rgb, Image.Image) else to_uint8(rgb)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise InputError(f"expected RGB, (height, width, 3); got {pixels.shape}")
    suffix = path.suffix.lower()
    kind = "SVG" if suffix == ".svg" else Image.registered_extensions().get(suffix)
    if kind is None or kind not in {*Image.SAVE, "SVG"}:
        raise ImageError(
            f"'{path}': no picture format is written with the suffix {path.suffix!r}; "
            "use .png, .jpg, .webp, .tif, .bmp, .gif, .pdf or .svg"
        )
    options = {
        "JPEG": {"quality": 95, "subsampling": 0},
        "WEBP": {"quality": 95},
        "PNG": {"compress_level": 1},  # a sixth of the time, for a file a sixth larger
    }
    try:
        with write_whole(path) as part:
            if kind in ("PDF", "SVG"):
                part.write_bytes(_pdf(pixels) if kind == "PDF" else _svg(pixels))
            else:
                Image.fromarray(pixels).save(part, format=kind, **options.get(kind, {}))
    except (OSError, ValueError) as error:
        raise ImageError(f"'{path}' cannot be written: {error}") from error


def _svg(pixels: npt.NDArray[np.uint8]) -> bytes:
    """A drawing of one picture, without loss."""
    height, width = pixels.shape[:2]
    data = base64.b64encode(png(to_float(pixels))).decode()
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}"><image width="{width}" height="{height}" '
        f'href="data:image/png;base64,{data}"/></svg>\n'
    ).encode()


def _pdf(pixels: npt.NDArray[np.uint8]) -> bytes:
    """A page of one picture, a point a pixel. (Pillow's own would be a lossy JPEG inside.)"""
    height, width = pixels.shape[:2]
    data = zlib.compress(np.ascontiguousarray(pixels).tobytes())
    draw = f"{width} 0 0 {height} 0 0 cm /Picture Do".encode()
    page = (
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width} {height}] /Contents 4 0 R "
        "/Resources << /XObject << /Picture 5 0 R >> >> >>"
    )
    picture = (
        f"<< /Type /XObject /Subtype /Image /Width {width} /Height {height} /BitsPerComponent 8 "
        f"/ColorSpace /DeviceRGB /Filter /FlateDecode /Length {len(data)} >>"
    )
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        page.encode(),
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(draw), draw),
        picture.encode() + b"\nstream\n" + data + b"\nendstream",
    ]
    file, places = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n", []
    for number, one in enumerate(objects, 1):
        places.append(len(file))
        file += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    count = len(objects) + 1
    end = b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R >>\n" % (
        count, table, count,
    )  # fmt: skip
    return file + end + b"startxref\n%d\n%%%%EOF\n" % len(file)
