"""What is seen of a pass besides its layers: what the stem was given, where detectors put pictures.

Knows stems and placements; reads no layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from gradcam_hooks.layout.input_axes import InputAxes
from gradcam_hooks.layout.placement import Placement, watched
from gradcam_hooks.layout.rules import input_axes
from gradcam_hooks.layout.stem import Stem, stem_watched
from gradcam_hooks.network.inputs import Inputs

__all__ = ["Signature", "Watched", "shapes"]

Signature = tuple[object, ...]
"""What something that is remembered depends on."""

_STEMS: WeakKeyDictionary[nn.Module, dict[Signature, Stem]] = WeakKeyDictionary()


def shapes(inputs: Inputs) -> Signature:
    """Shape and type of every tensor that goes in."""
    return tuple((tuple(one.shape), one.dtype) for one in inputs.tensors())


@dataclass
class Watched:
    """What was seen of a pass besides its layers.

    Attributes:
        stem: what the convolutions were given.
        places: where detectors put the pictures, the latest last.
    """

    stem: Stem
    places: list[Placement]

    @classmethod
    @contextmanager
    def over(cls, model: nn.Module, inputs: Inputs) -> Iterator[Watched]:
        """While open, what a pass of the model on these inputs shows; the stem once a shape."""
        stems, key = _STEMS.setdefault(model, {}), (inputs.place, shapes(inputs))
        known = stems.get(key)
        image = inputs.image
        with watched(model) as places:
            if known is not None:
                yield cls(known, places)
                return
            with stem_watched(model, image) as stem:
                yield cls(stem, places)
        if not stem.drew:
            stems[key] = stem

    @property
    def place(self) -> Placement | None:
        """Where a detector put the pictures; None where none did."""
        return self.places[-1] if self.places else None

    def size(self, axes: InputAxes, image: Tensor) -> tuple[int, ...]:
        """The sizes of what the network worked on, along the input's words of space."""
        seen = self.place.seen if self.place is not None else None
        return axes.size(image.shape) if seen is None else seen

    def axes(self, model: nn.Module, inputs: Inputs) -> InputAxes:
        """The axes of the image: what was said, what the stem saw, what is usual."""
        return input_axes(inputs.image.shape, model, inputs.axes or self.stem.axes)
