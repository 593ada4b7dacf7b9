"""Where a layer's map lies on the input: all over it, on a part that was cut out, or beyond it.

A network may crop, resize or mirror its input before it looks; torchvision's detectors resize a
picture and pad it on the right and below. A layer's cells cover evenly what the network saw, so
for each axis of space it is enough to know where the first cell begins and the last one ends.
Knows modules and what their hooks see.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gradcam_hooks.network.hooking import hooked
from gradcam_hooks.network.modules import every

__all__ = ["Placement", "watched"]


@dataclass(frozen=True)
class Placement:
    """Where a map lies.

    Attributes:
        spans: for each axis of space where the map begins and where it ends, as fractions of the
            input: ``(0, 1)`` all of it, ``(0.25, 0.75)`` the middle that was cut out, ``(1, 0)``
            mirrored, ``(0, 1.5)`` padded behind by half its length.
        seen: the size of what the network worked on, where that is known.
    """

    spans: tuple[tuple[float, float], ...]
    seen: tuple[int, ...] | None = None

    @property
    def whole(self) -> bool:
        """Whether the map covers the input and nothing else, unmirrored."""
        return all(span == (0.0, 1.0) for span in self.spans)

    def weights(self, axis: int, cells: int, pixels: int, like: Tensor) -> Tensor:
        """The matrix ``(cells, pixels)`` that draws the cells of an axis at its pixels.

        Linear between the cells' middles, the outermost cells repeated up to the map's ends, zero
        beyond them; over all of an input it is torch's interpolation, ``align_corners=False``.

        >>> place = Placement(((0.0, 0.5),))
        >>> place.weights(0, 2, 4, torch.zeros(())).tolist()
        [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]
        """
        start, stop = self.spans[axis]
        middles = (torch.arange(pixels, dtype=torch.float64, device=like.device) + 0.5) / pixels
        at = (middles - start) / (stop - start)
        inside = (at > 0) & (at < 1)
        cell = (at * cells - 0.5).clamp(0, cells - 1)
        cells_at = torch.arange(cells, dtype=torch.float64, device=like.device)[:, None]
        return ((1 - (cells_at - cell).abs()).clamp_min(0) * inside).to(like.dtype)


@contextmanager
def watched(model: nn.Module) -> Iterator[list[Placement]]:
    """While open, where torchvision's detectors put the pictures, the latest last."""
    seen: list[Placement] = []

    def look(name: str, output: object) -> None:
        images = output[0]  # type: ignore[index]  # torchvision's ImageList and the targets
        seen.append(_padded(tuple(images.tensors.shape[2:]), tuple(images.image_sizes[0])))

    name = "GeneralizedRCNNTransform"
    resizing = [one for one in every(model) if type(one).__name__ == name]
    if not resizing:
        yield seen
        return
    with hooked({str(number): one for number, one in enumerate(resizing)}, look):
        yield seen


def _padded(canvas: Sequence[int], picture: Sequence[int]) -> Placement:
    """Where a map of the whole canvas lies on the picture at its upper left."""
    sizes = zip(canvas, picture, strict=True)
    return Placement(tuple((0.0, whole / part) for whole, part in sizes), tuple(canvas))
