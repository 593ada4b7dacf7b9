"""The canvas of a detector: torchvision's resize a picture, then pad it on the right and below.

A layer's map covers the whole canvas, so it must be cropped to the picture before it is drawn at
the input's size. Knows modules and what their hooks see.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from torch import nn

__all__ = ["Canvas", "watched"]


@dataclass(frozen=True)
class Canvas:
    """What the network worked on.

    Attributes:
        size: the canvas, ``(height, width)`` in its own pixels.
        picture: how much of it, from the upper left, is the picture.
    """

    size: tuple[int, ...]
    picture: tuple[int, ...]


@contextmanager
def watched(model: nn.Module) -> Iterator[list[Canvas]]:
    """While open, the canvases that torchvision's detectors make, the latest last."""
    seen: list[Canvas] = []

    def look(module: nn.Module, args: object, output: object) -> None:
        images = output[0]  # type: ignore[index]  # torchvision's ImageList and the targets
        seen.append(Canvas(tuple(images.tensors.shape[2:]), tuple(images.image_sizes[0])))

    with ExitStack() as stack:
        for module in model.modules():
            if type(module).__name__ == "GeneralizedRCNNTransform":
                stack.callback(module.register_forward_hook(look).remove)
        yield seen
