"""The modes of torch that are the thread's own, put back to what they were, whatever came between.

By their values and not step by step: a block of torch's that an interruption kept from being left
would leave its mode on. Knows torch alone.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

import torch
from torch.overrides import TorchFunctionMode

from gradcam_hooks.network.blocks import Block, surrounded

__all__ = ["FunctionMode", "Modes", "inferring"]

_T = TypeVar("_T")

_KINDS = ("cpu", "cuda")


class Modes(Block):
    """Gradients and inference mode are off; on the way out every mode is as it was.

    Those are gradients, inference mode, autocast, the modes that see torch's functions, and vmap.
    """

    def __init__(self) -> None:
        self._grad = torch.is_grad_enabled()
        self._autocast, self._nested = _autocast(), _nested()
        self._functions = _functions()
        self._depth = torch._C._functorch.get_dynamic_layer_stack_depth()
        # What torch.inference_mode is made of: on from when it is made, off when it is left, once
        # and for all, or when it is dropped. So it is made where it is certain to be left.
        self._inference: Any = None

    def do(self) -> None:
        """Gradients off, and tensors that may take part in a backward pass."""
        if torch.is_inference_mode_enabled():
            self._inference = torch._C._InferenceMode(False)
        torch.set_grad_enabled(False)

    def undo(self) -> None:
        """Every mode as it was."""
        while torch._C._functorch.get_dynamic_layer_stack_depth() > self._depth:
            torch._C._functorch.pop_dynamic_layer_stack_and_undo_to_depth(self._depth)
        now = _functions()
        if [*map(id, now)] != [*map(id, self._functions)]:
            while torch._C._len_torch_function_stack():
                torch._C._pop_torch_function_stack()
            for mode in self._functions:
                torch._C._push_on_torch_function_stack(mode)
        while _nested() > self._nested:
            torch.autocast_decrement_nesting()
        if _autocast() != self._autocast:
            for kind, enabled, dtype, cached in self._autocast:
                torch.set_autocast_enabled(kind, enabled)
                torch.set_autocast_dtype(kind, dtype)
                torch.set_autocast_cache_enabled(cached)
            torch.clear_autocast_cache()
        if self._inference is not None:
            self._inference.__exit__(None, None, None)
        torch.set_grad_enabled(self._grad)


class _Inferring(Modes):
    """Inference mode is on, or all modes are the caller's; on the way out each is as it was."""

    def __init__(self, *, inference: bool) -> None:
        super().__init__()
        self._wanted = inference

    def do(self) -> None:
        """Inference mode on, where it is wanted."""
        if self._wanted:
            self._inference = torch._C._InferenceMode(True)


def inferring(work: Callable[[], _T], *, inference: bool = True) -> _T:
    """What ``work`` returns under inference mode; every mode is put back, however it ends.

    Args:
        work: what is done.
        inference: False: it runs in the caller's modes, which are put back.

    >>> inferring(torch.is_inference_mode_enabled), torch.is_inference_mode_enabled()
    (True, False)
    """
    return surrounded(_Inferring(inference=inference), work)


class FunctionMode(TorchFunctionMode):
    """One of torch's modes that takes itself off, wherever it is, and nobody else's."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Off, with those of blocks inside that were not left; nothing where it is off already."""
        while any(mode is self for mode in _functions()):
            if torch._C._pop_torch_function_stack() is self:
                break


def _functions() -> list[object]:
    """The modes that see torch's functions, the innermost last."""
    count = torch._C._len_torch_function_stack()
    return [torch._C._get_function_stack_at(number) for number in range(count)]


def _autocast() -> list[tuple[str, bool, torch.dtype, bool]]:
    """For each kind of device whether it is on, its type, and whether casts are remembered."""
    cached = torch.is_autocast_cache_enabled()
    return [
        (kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind), cached)
        for kind in _KINDS
    ]


def _nested() -> int:
    """How many blocks of autocast are open; its casts are forgotten when the last is left."""
    both = (torch.autocast_increment_nesting, torch.autocast_decrement_nesting)
    # In one step, as map is C: nothing may come between.
    count: int
    _, count = tuple(map(type(both[0]).__call__, both))
    return count
