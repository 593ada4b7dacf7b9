"""The truth about a layer, told without the library: the gradient of zeros added to its output.

The zeros are added inside the layer's own ``forward``, ahead of every hook, to a clone of what it
gives: that gradient is the gradient at the layer's output, whoever else holds it. Which axis holds
the channels is told by hand. Knows torch only.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from tests.support.networks import Network


@contextmanager
def inside(module: nn.Module, after: Callable[[object], object]) -> Iterator[None]:
    """While open, ``module.forward`` returns ``after`` of what it would have returned."""
    plain = module.forward
    own = vars(module).get("forward")  # somebody's who put it there before

    @wraps(plain)
    def forward(*args: object, **kwargs: object) -> object:
        return after(plain(*args, **kwargs))

    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if own is not None:
            module.forward = own


def given(output: object) -> Tensor:
    """The tensor among what a layer returns: itself, ``last_hidden_state``, or the first."""
    if isinstance(output, Tensor):
        return output
    named = getattr(output, "last_hidden_state", None)
    found = output[0] if named is None else named  # type: ignore[index]
    assert isinstance(found, Tensor)
    return found


class Zeros:
    """Adds zeros to a clone of what one layer gives, and keeps what its calls gave.

    Attributes:
        calls: how often it ran.
        seen: each call's activation and its zeros, by the number of the call.
    """

    def __init__(self, wanted: Callable[[int, object], bool]) -> None:
        self.calls = 0
        self.seen: dict[int, tuple[Tensor, Tensor]] = {}
        self._wanted = wanted

    def __call__(self, output: object) -> object:
        call, self.calls = self.calls, self.calls + 1
        if not self._wanted(call, output):
            return output
        tensor = given(output)
        zeros = torch.zeros_like(tensor).requires_grad_()
        self.seen[call] = tensor.detach().clone(), zeros
        new = tensor.clone() + zeros
        return tree_map_only(Tensor, lambda one: new if one is tensor else one, output)


def at(
    net: nn.Module, layer: str, score: Callable[[], Tensor], call: int = 0
) -> tuple[Tensor, Tensor]:
    """Activation and gradient at a call of a layer, of what ``score()`` gives by running it."""
    zeros = Zeros(lambda number, _: number == call)
    with inside(net.get_submodule(layer), zeros), torch.enable_grad():
        value = score().sum()
    activation, here = zeros.seen[call]
    (gradient,) = torch.autograd.grad(value, [here])
    return activation, gradient


def oracle(
    net: nn.Module,
    layer: str,
    scores: Callable[[object], Tensor],
    *args: object,
    call: int = 0,
    **kwargs: object,
) -> tuple[Tensor, Tensor]:
    """The same of the scores that are computed from the network's output."""
    return at(net, layer, lambda: scores(net(*args, **kwargs)), call)


def grad_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """``sum_c mean(g_c) a_c`` of ``(batch, channels, *space)``."""
    weights = gradient.flatten(2).mean(2)
    return torch.einsum("bc,bc...->b...", weights, activation)


def raw_by_zeros(
    net: nn.Module, layer: str, score: Callable[[], Tensor], prefix: int = 0
) -> Tensor:
    """The raw Grad-CAM map at ``layer`` of the score that ``score()`` computes by running it.

    The layer gives ``(batch, channels, *space)``; or, first in a tuple or alone, tokens
    ``(batch, prefix + tokens, channels)``, of which the map is flat.
    """
    seen = at(net, layer, score)
    if seen[0].ndim == 3:
        return grad_cam(*(one[:, prefix:].transpose(1, 2) for one in seen))
    return grad_cam(*seen)


def agree(raw: object, expected: Tensor) -> None:
    """Equal up to rounding, on the scale of the map, which is not blank."""
    assert isinstance(raw, Tensor)
    assert expected.any()
    found = raw.detach().reshape(expected.shape)
    assert error(found, expected) < (1e-9 if expected.dtype == torch.float64 else 1e-4)


@dataclass(frozen=True)
class Truth:
    """One call of one layer; tensors are channels first, ``(batch, channels, height, width)``."""

    layer: str
    call: int
    calls: int
    channels_last: bool
    activation: Tensor
    gradient: Tensor

    @property
    def raw(self) -> Tensor:
        """The signed Grad-CAM map, ``(batch, height, width)``."""
        weights = self.gradient.mean((2, 3), keepdim=True)
        return (weights * self.activation).sum(1)


def truths(
    network: Network,
    model: nn.Module,
    images: Tensor,
    only: tuple[str, int] | None = None,
    score: Callable[[Tensor], Tensor] | None = None,
) -> list[Truth]:
    """Every call that returned a 4-D tensor, in the order the calls finished.

    Args:
        network: tells where the axes are.
        model: what it built.
        images: what goes in.
        only: a layer and its call: zeros are added there and nowhere else.
        score: of the logits; by default the predicted class's, summed over the images.
    """
    heard: set[str] = set()  # timm's HRNet calls the forward of some parts, past all hooks
    with ExitStack() as stack:
        for name, module in model.named_modules():
            stack.enter_context(
                module.register_forward_hook(lambda m, i, o, name=name: heard.add(name))  # type: ignore[misc]
            )
        plain = model(images)
    seen: list[tuple[str, int, Tensor, Tensor]] = []
    calls: Counter[str] = Counter()

    def add_to(name: str) -> Callable[[object], object]:
        def wanted(call: int, output: object) -> bool:
            four = isinstance(output, Tensor) and output.ndim == 4
            return four and only in (None, (name, call))

        zeros = Zeros(wanted)

        def after(output: object) -> object:
            new = zeros(output)
            call, calls[name] = zeros.calls - 1, zeros.calls
            if call in zeros.seen:
                seen.append((name, call, *zeros.seen[call]))
            return new

        return after

    with ExitStack() as stack, torch.enable_grad():
        for name, module in model.named_modules():
            if name in heard:
                stack.enter_context(inside(module, add_to(name)))
        logits = model(images)
        value = logits.amax(1).sum() if score is None else score(logits)
    if not torch.equal(logits, plain):
        raise AssertionError(f"adding zeros changed the output of {network.name}")
    gradients = torch.autograd.grad(value, [zeros for *_, zeros in seen], materialize_grads=True)

    def channels_first(layer: str, tensor: Tensor) -> Tensor:
        return tensor.permute(0, 3, 1, 2) if network.is_channels_last(layer) else tensor

    return [
        Truth(
            name,
            call,
            calls[name],
            network.is_channels_last(name),
            channels_first(name, activation),
            channels_first(name, gradient),
        )
        for (name, call, activation, _), gradient in zip(seen, gradients, strict=True)
    ]


def error(found: Tensor, truth: Tensor) -> float:
    """The largest difference as a share of the truth's largest value; infinite for other shapes."""
    if found.shape != truth.shape:
        return float("inf")
    largest = truth.abs().max().item()
    difference = (found - truth).abs().max().item()
    if not largest:
        return 0.0 if not difference else float("inf")
    return difference / largest if difference == difference else float("inf")


def kinds(found: list[Truth], model: nn.Module, each: int) -> list[Truth]:
    """Of the layers alike in type, parent's type, name and call, ``each``, from first to last.

    Names without digits: all norms of all residual blocks are alike.
    """
    modules = dict(model.named_modules())
    alike: dict[object, list[Truth]] = {}
    for truth in found:
        parent, _, name = truth.layer.rpartition(".")
        key = type(modules[truth.layer]), type(modules[parent]), re.sub(r"\d", "", name), truth.call
        alike.setdefault(key, []).append(truth)
    chosen: list[Truth] = []
    for group in alike.values():
        count = min(each, len(group))
        chosen += [group[round(i * (len(group) - 1) / max(count - 1, 1))] for i in range(count)]
    return chosen
