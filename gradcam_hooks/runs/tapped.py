"""A layer under its tap, its axes read: activation and gradient as rules take them.

Knows taps and layouts; no score, no method.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gradcam_hooks.layout.reader import LayerReading
from gradcam_hooks.layout.reading import Layout
from gradcam_hooks.network.tap import Tap

__all__ = ["TappedLayer", "exact"]


@dataclass(frozen=True)
class TappedLayer:
    """A layer under its tap, with its axes read."""

    name: str
    label: str
    call: int
    tap: Tap
    reading: LayerReading

    @property
    def layout(self) -> Layout:
        """Where its channels and its space are."""
        return self.reading.layout

    def activation(self) -> Tensor:
        """``(batch, channels, *space)``, in float32 at least."""
        return self.layout.channels_first(exact(self.tap.activation))

    def gradient(self) -> Tensor | None:
        """The same shape, with an axis of targets ahead where there are many; None: no path."""
        gradient = self.tap.gradient
        return None if gradient is None else self.layout.channels_first(exact(gradient))


def exact(tensor: Tensor) -> Tensor:
    """In float32 at least: sums over thousands of positions do not fit half precision."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
