"""What is so unless something else is said, where the command's help tells of it.

Plain values; this file imports nothing, so that the help need not wait for PyTorch.
"""

from __future__ import annotations

__all__ = ["DEFAULT_COLORMAP", "MAX_PIXELS"]

DEFAULT_COLORMAP = "inferno"
"""Perceptually even, and from black up: it leaves a photograph legible where the map is low.

(viridis is as even, but its greens hardly stand out from a photograph.)
"""

MAX_PIXELS = 64_000_000
"""Pixels of a picture at most, where nothing else is said: drawing takes 90 bytes for each."""
