"""Switches of torch that belong to the whole process, held while an explanation needs them so.

Knows torch alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch.backends import cuda, cudnn

from gradcam_hooks.network.blocks import Block
from gradcam_hooks.network.holding import Held

__all__ = ["CUDNN_OFF", "EXACT_PRODUCTS", "PLAIN_ATTENTION", "switched"]


@dataclass(frozen=True)
class _Switch:
    """A switch of the process, and how it is to stand."""

    read: Callable[[], object]
    put: Callable[..., object]
    value: object


CUDNN_OFF = _Switch(lambda: cudnn.enabled, partial(setattr, cudnn, "enabled"), value=False)
"""PyTorch's own recurrent layers instead of cuDNN's, which have no backward pass in eval mode."""

EXACT_PRODUCTS = _Switch(
    torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest"
)
"""No fast and coarse products of float32 matrices."""

PLAIN_ATTENTION = (
    _Switch(cuda.math_sdp_enabled, cuda.enable_math_sdp, value=True),
    _Switch(cuda.flash_sdp_enabled, cuda.enable_flash_sdp, value=False),
    _Switch(cuda.mem_efficient_sdp_enabled, cuda.enable_mem_efficient_sdp, value=False),
    _Switch(cuda.cudnn_sdp_enabled, cuda.enable_cudnn_sdp, value=False),
)
"""No fused kernels of attention, which have no second derivative."""


class _Set(Block):
    """Switches as they are to stand."""

    def __init__(self, switches: Sequence[_Switch]) -> None:
        self._found = [(one, one.read()) for one in switches]

    def do(self) -> None:
        for switch, found in self._found:
            if found != switch.value:
                switch.put(switch.value)

    def undo(self) -> None:
        for switch, found in self._found:
            if switch.read() != found:
                switch.put(found)


def switched(*switches: _Switch) -> Held[_Switch, _Switch]:
    """While open, in any thread, these stand as they are to; the last to leave puts them back."""
    return Held({one: one for one in switches}, _Set)
