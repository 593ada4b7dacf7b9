"""Moving pictures: frames written as one GIF, whole or not at all.

Knows pictures only; what a frame shows is the drawing's matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gradcam_hooks.errors import ImageError, InputError
from gradcam_hooks.images.encoding import encoded
from gradcam_hooks.images.files import write_whole

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["save_animation"]

_SAMPLED = 16
"""Frames that the palette is made of, at most."""


def save_animation(path: Path, frames: Sequence[Image.Image], fps: float) -> None:
    """Write frames as a GIF that repeats for ever.

    All frames have one palette of 256 colours, so that what does not move does not flicker. GIF
    counts in hundredths of a second: at 8 frames per second one stays for 0.12 or 0.13 seconds.

    Args:
        path: where to.
        frames: RGB pictures of one size.
        fps: frames per second, more than 0 and at most 50: viewers slow faster ones down.

    Raises:
        InputError: ``fps`` is out of its range.
        ImageError: the file cannot be written.
    """
    from PIL import Image

    if not 0 < fps <= 50:
        raise InputError(f"fps= is frames per second, more than 0 and at most 50; got {fps!r}.")
    step = -(-len(frames) // _SAMPLED)
    some = frames[::step]
    width, height = frames[0].size
    strip = Image.new("RGB", (width, height * len(some)))
    for number, frame in enumerate(some):
        strip.paste(frame, (0, number * height))
    palette = strip.quantize(256, Image.Quantize.MEDIANCUT)
    first, *others = [
        frame.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for frame in frames
    ]
    ends = [round(100 * (n + 1) / fps) for n in range(len(frames))]
    stays = [10 * (end - start) for start, end in zip([0, *ends], ends, strict=False)]
    try:
        with write_whole(path) as part:
            part.write_bytes(
                encoded(first, "GIF", save_all=True, append_images=others, duration=stays, loop=0)
            )
    except OSError as error:
        raise ImageError(f"'{path}' cannot be written: {error}") from error
