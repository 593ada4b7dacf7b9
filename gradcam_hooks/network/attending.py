"""Which modules of a network compute an attention: told by its values, never by a class's name.

An attention weighs keys for each query: a softmax along the last axis of at least three, a fused
kernel that has one inside, or a module that gives rows which add up to one. Knows modules and
tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["Attending", "are_weights", "unattended"]

_FUSED = {functional.scaled_dot_product_attention, functional.multi_head_attention_forward}
_SOFTMAX = {torch.softmax, torch.special.softmax, functional.softmax, Tensor.softmax}


def are_weights(values: Tensor) -> bool:
    """Whether these may be the weights of an attention: square, and rows that add up to one.

    >>> are_weights(torch.full((1, 2, 4, 4), 0.25)), are_weights(torch.ones(1, 2, 4, 4))
    (True, False)
    """
    shape = values.shape
    if len(shape) < 3 or 0 in shape or not 1 < shape[-1] == shape[-2]:
        return False
    if not values.is_floating_point():
        return False
    values = values.detach()
    if abs(float(values[(0,) * (len(shape) - 1)].sum()) - 1) > 1e-2:  # most are told by one row
        return False
    sums = values.float().sum(-1)
    return bool((values >= 0).all() and (sums - 1).abs().max() < 1e-2)


def unattended() -> AbstractContextManager[None]:
    """A block in which nobody is told of what tensors are asked, not even of their shapes.

    The library's own questions, of every module of a network, would take longer than some networks.
    """
    block: AbstractContextManager[None] = torch._C.DisableTorchFunction()
    return block


class Attending(TorchFunctionMode):
    """While open, notices in which modules an attention is computed.

    Args:
        modules: the model's modules by name.

    Attributes:
        names: those modules.
        running: the modules that run now, the innermost last; whoever opens it keeps it.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.running: list[str] = []
        self._modules = modules

    def within(self, name: str) -> bool:
        """Whether a module is a part of one of them: its queries, scores or values."""
        parents = name.split(".")[:-1]
        return any(".".join(parents[:end]) in self.names for end in range(1, len(parents) + 1))

    def leave(self, name: str, *, weights: bool) -> None:
        """Told of each module that has run, and of whether what it gives `are_weights`."""
        while self.running and self.running.pop() != name:
            pass  # left behind by a module that raised, where the network went on
        if weights:
            self.names.add(name.rpartition(".")[0])

    def _here(self) -> None:
        if not self.running:
            return
        name = self.running[-1]
        module = self._modules[name]
        if next(module.children(), None) is None and next(module.parameters(), None) is None:
            name = name.rpartition(".")[0]  # an nn.Softmax is a step of what it stands in
        self.names.add(name)

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Run the function, and notice where it was if it is an attention's."""
        given = kwargs or {}
        result = func(*args, **given)
        if func in _FUSED:
            self._here()
        elif func in _SOFTMAX and isinstance(result, Tensor) and result.ndim > 2:
            axis = given.get("dim", args[1] if len(args) > 1 else None)
            if axis in (-1, result.ndim - 1) and result.shape[-1] > 1:
                self._here()
        return result
