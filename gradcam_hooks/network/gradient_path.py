"""Where the path of gradients from a layer to the score ends, told by the modules' names.

Asked only once no gradient came: two more passes, and one with a hook on every module, in which
each output is looked up in the graph. Knows modules and tensors; knows no map and no target.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from gradcam_hooks.network.hooking import entered, hooked
from gradcam_hooks.network.inputs import Inputs
from gradcam_hooks.network.modules import describe, hookable, named
from gradcam_hooks.network.outputs import main_tensor, with_tensor
from gradcam_hooks.network.tree import tensors

__all__ = ["Tracing", "left_torch", "path_end", "quantised"]

_WAYS = "(detach(), no_grad, argmax, item(), numpy() or an operator without a backward pass"


@dataclass(frozen=True)
class Tracing:
    """What is run to find the end of a path.

    Attributes:
        model: the network; its state is looked after (`untouched`).
        inputs: what goes into it.
        chosen: from its output to the part that is explained.
        score: from that part to the scores.
    """

    model: nn.Module
    inputs: Inputs
    chosen: Callable[[object], object]
    score: Callable[[object], Tensor]


def path_end(asked: Tracing, name: str) -> str:
    """A sentence on where the path from a layer to the score ends; empty where it does not.

    Args:
        asked: what is run.
        name: the layer, by its dotted name.
    """
    if not _matters(asked, name):
        return (
            f"The score does not change when noise takes the place of what {describe(name)} gives: "
            "the layer lies beside the path."
        )
    walk = _Walk(name)
    try:
        with torch.set_grad_enabled(True):
            output = walk.run(asked)
    except RuntimeError as error:
        if not _leaves_torch(error):
            raise
        # What comes ahead of the layer may leave torch as it likes where gradients are off.
        walk = _Walk(name)
        with torch.set_grad_enabled(False):
            output = walk.run(asked)
    if walk.ends:
        return _told(walk.ends, named(asked.model), name)
    with torch.enable_grad():
        chosen = asked.chosen(output)
        scores = asked.score(chosen)
    if not walk.alive(chosen):
        return (
            "The gradient path goes into the model's output, but not into the part of it that is "
            "explained; output= chooses another."
        )
    if not walk.alive(scores):
        return "The gradient path ends after the model's output: in the target function."
    return ""


def left_torch(error: RuntimeError, model: nn.Module) -> str:
    """The module that took a tensor with a gradient out of torch; empty where it is no such error.

    Args:
        error: what the model's forward pass raised.
        model: the network.
    """
    if not _leaves_torch(error):
        return ""
    names = {module: name for name, module in named(model).items()}
    found, trace = "", error.__traceback__
    while trace is not None:
        running = trace.tb_frame.f_locals.get("self")
        if isinstance(running, nn.Module) and running in names:
            found = describe(names[running])
        trace = trace.tb_next
    return found


def _leaves_torch(error: RuntimeError) -> bool:
    """Whether a model failed because it takes a tensor with gradient out of torch."""
    return "numpy() on Tensor that requires grad" in str(error)


def quantised(module: nn.Module) -> bool:
    """Whether a module computes in integers, as torch.ao's quantisation makes them."""
    return any("quantized" in kind.__module__ for kind in type(module).__mro__)


@dataclass(frozen=True)
class _End:
    """A module out of which no path leads; ``last`` is the last inside it out of which one does."""

    name: str
    last: str | None


def _told(ends: Sequence[_End], modules: Mapping[str, nn.Module], layer: str) -> str:
    said = []
    for end in ends[:3]:
        module = modules[end.name]
        if end.last is not None:
            said.append(
                f"after {describe(end.last)}, in the forward of {describe(end.name)} {_WAYS})"
            )
        elif quantised(module):
            said.append(
                f"after {describe(end.name)}, a quantised {type(module).__name__}, for which "
                "PyTorch has no gradient; explain the floating-point model that it was made of"
            )
        else:
            said.append(
                f"after {describe(end.name)}: what goes into it depends on {describe(layer)}, "
                f"what comes out carries no gradient {_WAYS} in its forward)"
            )
    return f"The gradient path ends {', and '.join(said)}."


def _matters(asked: Tracing, name: str) -> bool:
    """Whether the score changes when noise takes the place of what the layer gives."""

    def disturb(sign: int, name: str, output: object) -> object:
        given = main_tensor(output)
        if given is None or not given.is_floating_point():
            return None
        noise = torch.randn(given.shape, generator=torch.Generator().manual_seed(0)).to(given)
        noise *= sign * 10 * (1 + given.abs().amax())
        return with_tensor(output, given, noise)

    def score() -> Tensor:
        output = asked.inputs.copied().call(asked.model)
        return asked.score(asked.chosen(output))

    with torch.set_grad_enabled(False):
        clean = score()
        for sign in (1, -1):  # a ReLU ahead of the score may make 0 of one of them
            try:
                with hooked({name: named(asked.model)[name]}, partial(disturb, sign)):
                    disturbed = score()
            except Exception:  # whatever breaks on noise does look at it
                return True
            if not torch.equal(clean, disturbed):
                return True
    return False


@dataclass
class _Visit:
    """A module that is running: whether a path leads into it, and what came of it so far."""

    name: str
    alive: bool
    last: str | None = None
    ends: list[_End] = field(default_factory=list)


class _Walk:
    """One pass that marks what the layer gives and follows it from module to module.

    Attributes:
        ends: where the path ends inside the model; empty where it comes out of it.
    """

    def __init__(self, name: str) -> None:
        self.ends: list[_End] = []
        self._layer = name
        self._open: list[_Visit] = []
        self._depends: dict[Node, bool] = {}

    def run(self, asked: Tracing) -> object:
        """The model's output, with the marks in its graph."""
        modules = hookable(asked.model)
        with entered(modules, self._enter), hooked(modules, self._leave):
            return asked.inputs.copied().call(asked.model)

    def alive(self, value: object) -> bool:
        """Whether the graph of any tensor in ``value`` leads to what the layer gave."""
        return any(self._leads(t.grad_fn) for t in tensors(value) if t.grad_fn is not None)

    def _leads(self, node: Node) -> bool:
        """Depth first without recursion: graphs are deeper than Python's stack."""
        stack = [node]
        while stack:
            here = stack[-1]
            if here in self._depends:
                stack.pop()
                continue
            ahead = [one for one, _ in here.next_functions if one is not None]
            if "NotImplemented" in here.name():  # an operator that has no backward pass
                self._depends[here] = False
            elif any(self._depends.get(one) for one in ahead):
                self._depends[here] = True
            elif all(one in self._depends for one in ahead):
                self._depends[here] = False
            else:
                stack.extend(one for one in ahead if one not in self._depends)
        return self._depends[node]

    def _enter(self, name: str, args: object, kwargs: object) -> None:
        self._open.append(_Visit(name, self.alive((args, kwargs))))

    def _leave(self, name: str, output: object) -> object:
        visit = self._open.pop()
        marked = self._mark(output) if name == self._layer else None
        alive = self.alive(output if marked is None else marked)
        if alive:
            if self._open:
                self._open[-1].alive, self._open[-1].last = True, name
        elif visit.alive:
            ends = visit.ends or [_End(name, visit.last)]
            (self._open[-1].ends if self._open else self.ends).extend(ends)
            if self._open:
                self._open[-1].alive = True
        return marked

    def _mark(self, output: object) -> object:
        given = main_tensor(output)
        if given is None or not given.is_floating_point():
            return None
        leaf = given.detach().requires_grad_()
        torch.set_grad_enabled(True)
        passed = leaf.clone()
        if passed.grad_fn is not None:
            self._depends[passed.grad_fn] = True
        return with_tensor(output, given, passed)
