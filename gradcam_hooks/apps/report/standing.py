"""What pages that ask for nothing outside themselves are made of: assets, hashes, pictures, words.

Pages of the report, of an audit and of an evaluation. Knows the package's own files and pictures.
"""

from __future__ import annotations

import base64
import hashlib
import io
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["assets", "data_uri", "source_hash", "thumbnail", "writable"]


@cache
def assets(*paths: str) -> str:
    """Files of the applications one after the other, by their paths in `gradcam_hooks.apps`."""
    root = resources.files("gradcam_hooks.apps")
    return "\n".join((root / path).read_text(encoding="utf-8") for path in paths)


def source_hash(text: str) -> str:
    """A script or a style as a content security policy names it.

    >>> source_hash("")
    'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='
    """
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def data_uri(image: Image.Image, kind: str, quality: int = 75) -> str:
    """A picture as an address that holds it.

    Args:
        image: the picture.
        kind: ``"PNG"`` or ``"JPEG"``.
        quality: of a JPEG.
    """
    file = io.BytesIO()
    image.save(file, format=kind, quality=quality)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def thumbnail(image: Image.Image, side: int) -> str:
    """A picture with its sides at most ``side`` pixels, as an address that holds it."""
    small = image.convert("RGB")
    small.thumbnail((side, side))
    return data_uri(small, "JPEG")


def writable(text: str) -> str:
    r"""A file's name may hold bytes that are no UTF-8; they are shown as escapes.

    >>> writable("a\udcff")
    'a\\udcff'
    """
    return text.encode("utf-8", "backslashreplace").decode()
