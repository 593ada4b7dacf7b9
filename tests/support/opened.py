"""A network whose taps are open for as long as a piece of work takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from torch import nn

from gradcam_hooks.network.hooks import Call, Taps
from gradcam_hooks.network.state import untouched

_T = TypeVar("_T")


def tapped(
    net: nn.Module, names: Sequence[str], work: Callable[[Taps], _T], *, call: Call = None
) -> _T:
    def opened() -> _T:
        with Taps(net, names, call=call) as taps:
            return work(taps)

    return untouched(net, opened)
