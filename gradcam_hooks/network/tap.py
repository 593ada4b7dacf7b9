"""The tap: what a layer gave, and the gradient that comes back to it.

An identity between a layer and what follows it, with a full-backward hook, and a clone behind it
that may be changed in place. Why it is built so is told in `hooks`. Knows tensors only.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.utils.hooks import BackwardHook

__all__ = ["Tap", "Way"]

Way = Literal["cut", "uncut", "graph", "forward"]
"""How a pass is run: without gradients up to the first tap; with them from the start; with them
and a graph that goes on through the map (``differentiable=True``); or without any."""


class Tap(nn.Module):
    """An identity that remembers: what the layer gave, and the gradient that came back to it.

    Attributes:
        activation: the layer's own output; detached, unless the whole graph is kept.
        gradient: the score's gradient at that output, same shape; None until a backward pass
            reached it.
        edge: the place in the graph where the backward pass may end; None where gradients stay
            off.
        grid: the grid of its tokens that the layer told beside them; None where it told none.
    """

    activation: Tensor
    gradient: Tensor | None
    edge: GradientEdge | None
    grid: tuple[int, ...] | None = None

    def __init__(self, output: Tensor, way: Way) -> None:
        super().__init__()
        self.gradient = None
        self._written = output._version
        if way == "forward":
            self.activation, self._source = output.clone(), output
            self.edge = None
            return
        if not (torch.is_grad_enabled() and output.requires_grad):
            output = output.detach().requires_grad_()
            torch.set_grad_enabled(True)
        self.activation = output if way == "graph" else output.detach()
        if way != "cut":  # somebody upstream may hold the same memory and write to it
            self.activation = self.activation.clone()
        self._source = output
        self._written = output._version
        # The edge rather than the tensor: an in-place operation would move the tensor's place.
        self.edge = get_gradient_edge(output)
        # The hook finds its tap in its first argument. A bound method would close a circle of
        # references through the graph and keep the call's tensors alive. So would, where the
        # gradient is in a graph itself, the hook as such.
        if way != "graph":
            self.register_full_backward_hook(_keep_gradient)

    def __call__(self, output: Tensor) -> Tensor:
        """The output itself: the hook is all that matters.

        Torch's own way to call a module would take it past the global hooks, which are there for
        the network's modules.
        """
        if not self._backward_hooks:
            return output
        hook = BackwardHook(self, list(self._backward_hooks.values()), [])
        (given,) = hook.setup_input_hook((output,))  # type: ignore[no-untyped-call]
        passed: Tensor = hook.setup_output_hook(given)  # type: ignore[no-untyped-call]
        return passed

    def downstream(self) -> Tensor:
        """What the rest of the network works on, in place if it likes."""
        return self(self._source).clone()

    @property
    def overwritten(self) -> bool:
        """Whether somebody holding the layer's output wrote to it after the tap saw it."""
        return self._source._version != self._written


def _keep_gradient(
    tap: nn.Module, grad_input: object, grad_output: tuple[Tensor | None, ...] | Tensor
) -> None:
    assert isinstance(tap, Tap)  # registered by Tap alone
    gradient = grad_output[0]
    tap.gradient = None if gradient is None else gradient.detach()
