"""Drawing: maps on what was explained, a kind of ground for each number of axes.

`ground_of` finds the kind by the maps' axes and makes it ready once; its ``draw`` puts one map on
it. A new kind is a class with `Ground`'s two methods and one line in `ground_of`. Importing this
takes NumPy and torch only.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradcam_hooks.errors import InputError
from gradcam_hooks.results.drawing.axes import Axes
from gradcam_hooks.results.drawing.planes import Plane
from gradcam_hooks.results.drawing.signals import Signal
from gradcam_hooks.results.drawing.style import (
    CLASSIC,
    Drawing,
    Opacity,
    Slices,
    Style,
    with_style,
)
from gradcam_hooks.results.drawing.subject import Ground, Subject
from gradcam_hooks.results.drawing.volumes import Volume

__all__ = [
    "CLASSIC",
    "Axes",
    "Drawing",
    "Ground",
    "Opacity",
    "Plane",
    "Signal",
    "Slices",
    "Style",
    "Subject",
    "Volume",
    "ground_of",
    "with_style",
]


def ground_of(subject: Subject, space: Sequence[int]) -> Ground:
    """What maps ``(*space)`` of this subject are drawn on.

    Raises:
        InputError: maps of so many axes cannot be drawn, or there is nothing to draw them on.
    """
    if len(space) == 1:
        return Signal.of(subject, space)
    if len(space) == 2:
        return Plane.of(subject, space)
    if len(space) == 3:
        return Volume.of(subject, space)
    raise InputError(
        f"an overlay needs maps of one to three axes, these are {tuple(space)}. "
        "The numbers are in .maps, and save() writes them as .npz."
    )
