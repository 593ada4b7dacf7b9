"""The network's own operations, seen and replaced while a forward pass runs; no module is touched.

`torch.overrides.TorchFunctionMode` sees every call of a torch function, so a ReLU is the same
whether it is a module, ``F.relu``, ``x.relu_()`` or ``x.clamp(min=0)``. A `Watching` picks the
calls it knows by name and puts its own result in their place, whose backward pass is a rule of its
own (`ruled`). It is over when its block is left, so nothing has to be restored. What runs as
TorchScript is not seen. Knows torch functions; knows no method.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradcam_hooks.network.modes import FunctionMode

__all__ = ["ELEMENTWISE", "UNRULED", "Op", "Watching", "ruled", "slope"]

ELEMENTWISE = frozenset(
    [
        "abs",
        "celu",
        "clamp",
        "clamp_max",
        "clamp_min",
        "clip",
        "elu",
        "erf",
        "exp",
        "expit",
        "expm1",
        "gelu",
        "hardshrink",
        "hardsigmoid",
        "hardswish",
        "hardtanh",
        "leaky_relu",
        "log",
        "log10",
        "log1p",
        "log2",
        "logsigmoid",
        "mish",
        "pow",
        "prelu",
        "reciprocal",
        "rdiv",
        "rpow",
        "rtruediv",
        "relu",
        "relu6",
        "rrelu",
        "rsqrt",
        "selu",
        "sigmoid",
        "silu",
        "softplus",
        "softshrink",
        "softsign",
        "sqrt",
        "square",
        "tanh",
        "tanhshrink",
        "threshold",
    ]
)
"""Functions of each value by itself, by name."""

UNRULED = frozenset(
    [
        "amax",
        "amin",
        "bmm",
        "cosine_similarity",
        "einsum",
        "group_norm",
        "instance_norm",
        "layer_norm",
        "local_response_norm",
        "log_softmax",
        "logsumexp",
        "matmul",
        "max",
        "max_pool2d_with_indices",
        "maximum",
        "min",
        "minimum",
        "multi_head_attention_forward",
        "norm",
        "normalize",
        "rms_norm",
        "scaled_dot_product_attention",
        "softmax",
        "softmin",
        "std",
        "var",
        "var_mean",
    ]
)
"""Functions of several values at once that are not linear in them, by name."""


@dataclass(frozen=True)
class Op:
    """One call of a torch function whose first argument is a floating-point tensor.

    Attributes:
        name: the function's, without the underscore of those that work in place.
        given: its first argument.
        in_place: whether it writes its result there.
    """

    name: str
    function: Callable[..., object]
    args: Sequence[object]
    kwargs: Mapping[str, object]
    given: Tensor
    in_place: bool

    def plain(self) -> object:
        """What the call itself gives."""
        return self.function(*self.args, **self.kwargs)

    def at(self, given: Tensor) -> Tensor:
        """What it gives at other values, which are left as they are."""
        value = self.function(given.clone() if self.in_place else given, *self._rest, **self._named)
        assert isinstance(value, Tensor)  # an operation on one tensor gives one
        return value

    def argument(self, position: int, name: str) -> object:
        """One of its arguments; None where it was left out."""
        return self.args[position] if position < len(self.args) else self.kwargs.get(name)

    def put(self, value: Tensor) -> Tensor:
        """``value`` where the call would have left its result."""
        return self.given.copy_(value) if self.in_place else value

    @property
    def _rest(self) -> Sequence[object]:
        return self.args[1:]

    @property
    def _named(self) -> Mapping[str, object]:
        return {key: one for key, one in self.kwargs.items() if key not in _FIRST}


_FIRST = ("input", "self")
"""What the first argument is called where it comes by name."""


class Watching(FunctionMode, ABC):
    """A block in which the calls of some functions are replaced.

    Args:
        names: of the functions, without the underscore of those that work in place.
    """

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        self._names = frozenset(names)

    @abstractmethod
    def replaced(self, op: Op) -> object:
        """What takes the place of ``op``'s result; inside, nothing is watched."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        op = self._read(func, args, kwargs)
        return func(*args, **kwargs) if op is None else self.replaced(op)

    def _read(
        self, func: Callable[..., object], args: Sequence[object], kwargs: Mapping[str, object]
    ) -> Op | None:
        full = getattr(func, "__name__", "")
        name = full.strip("_")
        if name not in self._names:
            return None
        given = args[0] if args else next((kwargs[key] for key in _FIRST if key in kwargs), None)
        if not isinstance(given, Tensor) or not given.is_floating_point():
            return None
        in_place = bool(kwargs.get("inplace")) or (
            (full.endswith("_") and not full.endswith("__")) or full.startswith("__i")
        )
        return Op(name, func, args, kwargs, given, in_place)


def slope(op: Op, at: Tensor) -> Tensor:
    """The derivative of an elementwise operation at other values, in their shape."""
    with torch.enable_grad():
        free = at.detach().clone().requires_grad_()
        value = op.at(free)
        (found,) = torch.autograd.grad(value, free, torch.ones_like(value))
    return found


Back = Callable[[Tensor], Tensor | tuple[Tensor | None, ...]]
"""From the gradient of a result to that of what went in."""


class _Ruled(torch.autograd.Function):
    """A result whose backward pass is a rule and not a derivative."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        run: Callable[[], tuple[Tensor, Back]],
        *given: Tensor,
    ) -> Tensor:
        value, ctx.back = run()  # type: ignore[attr-defined]
        return value

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        found = ctx.back(gradients[0])  # type: ignore[attr-defined]
        return (None, *(found if isinstance(found, tuple) else (found,)))


def ruled(run: Callable[[], tuple[Tensor, Back]], *given: Tensor) -> Tensor:
    """The value that ``run`` gives, in the graph behind ``given`` with the backward pass it gives.

    >>> x = torch.tensor([1.0, -2.0], requires_grad=True)
    >>> y = ruled(lambda: (x.detach().relu(), lambda gradient: 10 * gradient), x)
    >>> torch.autograd.grad(y.sum(), x)[0]
    tensor([10., 10.])
    """
    value: Tensor = _Ruled.apply(run, *given)
    return value
