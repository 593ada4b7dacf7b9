"""What is so unless something else is said, where the command's help tells of it.

Plain values; this file imports nothing, so that the help need not wait for PyTorch.
"""

from __future__ import annotations

from typing import Literal

__all__ = ["DEFAULT_ALPHA", "DEFAULT_COLORMAP", "MAX_PIXELS", "OVERLAY_FORMAT", "OVERLAY_SIDE"]

DEFAULT_COLORMAP = "inferno"
"""Perceptually even, and from black up: it leaves a photograph legible where the map is low.

(viridis is as even, but its greens hardly stand out from a photograph.)
"""

DEFAULT_ALPHA = 0.7
"""Where the map is highest: its colour is seen, and the picture beneath as well."""

MAX_PIXELS = 64_000_000
"""Pixels of a picture at most, where nothing else is said: drawing takes 90 bytes for each."""

OVERLAY_FORMAT: Literal["jpeg"] = "jpeg"
"""The overlays' format of a run on a folder: a thirteenth of the time of a PNG, and a quarter of
its bytes."""

OVERLAY_SIDE = 640
"""Their longer side in pixels at most, at which drawing and writing take less than a fifth of a
ResNet-50's inference."""
