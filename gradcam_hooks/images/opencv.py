"""OpenCV, imported where it is used; where it cannot be loaded, what to install is said once.

The package ``cv2`` comes from several distributions. ``opencv-python`` needs the libraries of a
display (libGL), which servers and containers often lack; ``opencv-python-headless`` needs none.
"""

from __future__ import annotations

from types import ModuleType

__all__ = ["opencv"]


def opencv() -> ModuleType:
    """The module ``cv2``, from whichever package it is installed.

    Raises:
        ImportError: it is not there, or one of its libraries is not; says what to install.
    """
    try:
        import cv2
    except ImportError as error:
        raise ImportError(
            f"OpenCV cannot be loaded ({error}); maps are made without it, colours, boxes and "
            "sheets are not. On a server without a display, put opencv-python-headless in the "
            "place of opencv-python: pip uninstall opencv-python, then pip install "
            "opencv-python-headless"
        ) from error
    module: ModuleType = cv2
    return module
