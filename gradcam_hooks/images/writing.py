"""Pictures written: RGB to a file, whole or not at all, in whatever format its suffix says.

Knows pages, pixels and files. Pillow is imported where it is used, and matplotlib, which writes the
text of a PDF where it is installed.
"""

from __future__ import annotations

import base64
import io
import os
import zlib
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gradcam_hooks.errors import ImageError, InputError
from gradcam_hooks.images.colors import to_float, to_uint8
from gradcam_hooks.images.encoding import encoded, png
from gradcam_hooks.images.files import write_whole
from gradcam_hooks.images.pages import Page

if TYPE_CHECKING:
    from PIL import Image

    from gradcam_hooks.images.lettering import Written

__all__ = ["save_image", "save_page"]


_BASE = 1.0
"""How far below its top a line stands, of the size of its letters."""

_NARROWER = 0.86
"""matplotlib's letters are as much wider than Pillow's."""


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

    pixels = to_float(np.asarray(rgb)) if isinstance(rgb, Image.Image) else np.asarray(rgb)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise InputError(f"expected RGB, (height, width, 3); got {pixels.shape}")
    save_page(path, Page.of(pixels))


def save_page(path: str | os.PathLike[str], page: Page) -> None:
    """Write a page, whole or not at all, as `save_image` does.

    In SVG its text is text; so it is in PDF where matplotlib is installed, with its font embedded.

    Raises:
        ImageError: Pillow writes no such format, or the file cannot be written.
    """
    from PIL import Image

    path = Path(path)
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
            if kind == "SVG":
                part.write_bytes(_svg(page))
            elif kind == "PDF":
                part.write_bytes(_pdf_with_text(page) or _pdf(to_uint8(page.pixels())))
            else:
                part.write_bytes(encoded(page.image(), kind, **options.get(kind, {})))
    except (OSError, ValueError) as error:
        raise ImageError(f"'{path}' cannot be written: {error}") from error


def _svg(page: Page) -> bytes:
    """A drawing of pictures without loss, and of text that can be selected."""
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{page.width}" height="{page.height}" '
        f'viewBox="0 0 {page.width} {page.height}" font-family="sans-serif" xml:space="preserve">'
    ]
    if any(page.texts()):
        drawn.append(f'<rect width="{page.width}" height="{page.height}" fill="#fff"/>')
    for top, left, picture in page.pictures():
        data = base64.b64encode(png(picture)).decode()
        drawn.append(
            f'<image x="{left}" y="{top}" width="{picture.shape[1]}" height="{picture.shape[0]}" '
            f'href="data:image/png;base64,{data}"/>'
        )
    drawn += [
        _svg_line(top, left, text.size, one)
        for top, left, text in page.texts()
        for one in text.written()
    ]
    return ("".join(drawn) + "</svg>\n").encode()


def _svg_line(top: int, left: int, size: int, one: Written) -> str:
    """A line of text, as wide as where it is painted, whatever the font."""
    ink = f"{one.ink:02x}" * 3
    return (
        f'<text x="{left + one.left}" y="{top + one.top + size * _BASE:.1f}" font-size="{size}" '
        f'textLength="{one.width:.1f}" lengthAdjust="spacingAndGlyphs" fill="#{ink}">'
        f"{escape(one.text)}</text>"
    )


def _pdf_with_text(page: Page) -> bytes:
    """A page of PDF whose text is text; empty where there is none, or no matplotlib to write it."""
    if not any(page.texts()):
        return b""
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        return b""
    file = io.BytesIO()
    with rc_context({"pdf.fonttype": 42, "image.composite_image": False}):
        figure = Figure(figsize=(page.width / 72, page.height / 72), dpi=72)
        for top, left, picture in page.pictures():
            lower = page.height - top - picture.shape[0]
            figure.figimage(to_uint8(picture), left, lower, origin="upper")
        for top, left, text in page.texts():
            for one in text.written():
                figure.text(
                    (left + one.left) / page.width,
                    1 - (top + one.top + text.size * _BASE) / page.height,
                    one.text.replace("$", r"\$"),
                    fontsize=text.size * _NARROWER,
                    color=(one.ink / 255,) * 3,
                    verticalalignment="baseline",
                )
        figure.savefig(file, format="pdf", dpi=72)
    return file.getvalue()


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
