"""Pictures: read, made ready for a network, coloured and drawn, with the way back to the original.

Importing this takes NumPy and torch only; Pillow, OpenCV and torchvision come where they are used.
"""

from __future__ import annotations

from gradcam_hooks.images.colors import (
    COLORMAPS,
    DEFAULT_COLORMAP,
    blend,
    colorize,
    to_float,
    to_uint8,
)
from gradcam_hooks.images.files import list_images, write_whole
from gradcam_hooks.images.geometry import Geometry
from gradcam_hooks.images.pictures import Picture
from gradcam_hooks.images.reading import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Fit,
    Preprocess,
    load_image,
)
from gradcam_hooks.images.sheets import sheet
from gradcam_hooks.images.writing import save_image

__all__ = [
    "COLORMAPS",
    "DEFAULT_COLORMAP",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Fit",
    "Geometry",
    "Picture",
    "Preprocess",
    "blend",
    "colorize",
    "list_images",
    "load_image",
    "save_image",
    "sheet",
    "to_float",
    "to_uint8",
    "write_whole",
]
