"""FullGrad: the gradient at the input, and at every bias of the network.

For a network of affine operations and ReLUs the score is ``x dx`` plus the sum of every bias times
its gradient, exactly. The biases are found while a pass runs, in modules and functions alike; that
they are all of them is checked by adding up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn import functional

from gradcam_hooks.checks import check_flag
from gradcam_hooks.errors import GradientError
from gradcam_hooks.maps import minmax, resize
from gradcam_hooks.methods.registry import method
from gradcam_hooks.network.half import unscaled
from gradcam_hooks.runs.function_rules import ELEMENTWISE, UNRULED, Op, Watching, slope
from gradcam_hooks.runs.run import NoPath, Run

__all__ = ["FullGradient", "full_gradients", "fullgrad"]

_CONVOLUTIONS = frozenset(f"conv{kind}{rank}d" for kind in ("", "_transpose") for rank in (1, 2, 3))
_SUMS = frozenset(("add", "sub", "subtract", "rsub"))
_PRODUCTS = frozenset(("mul", "multiply"))
_QUOTIENTS = frozenset(("div", "divide", "true_divide"))
_WITHOUT = frozenset(("relu", "leaky_relu", "prelu", "rrelu", "abs"))
"""Elementwise functions whose value is their slope times what goes in: they have no bias."""


@dataclass(frozen=True)
class _Bias:
    """A bias where it was added: its values, shaped to what it was added to, and the place."""

    values: Tensor
    edge: GradientEdge


class _Biases(Watching):
    """The pass in which biases are found."""

    def __init__(self) -> None:
        super().__init__(
            {"linear", "batch_norm"}.union(
                _CONVOLUTIONS, ELEMENTWISE, UNRULED, _SUMS, _PRODUCTS, _QUOTIENTS
            )
        )
        self.found: list[_Bias] = []
        self.unruled: dict[str, None] = {}

    def replaced(self, op: Op) -> object:
        if not torch.is_grad_enabled():
            return op.plain()
        bias = self._rule(op)
        if op.name in UNRULED:
            self.unruled[op.name] = None
        value = op.plain()
        if bias is not None and isinstance(value, Tensor) and _computed(value):
            values = bias(value)
            if values is not None:
                self.found.append(_Bias(values, get_gradient_edge(value)))
        return value

    def _rule(self, op: Op) -> Callable[[Tensor], Tensor | None] | None:
        """What tells an operation's bias from its result; what goes in is looked at now."""
        if op.name in _CONVOLUTIONS or op.name == "linear":
            bias = op.argument(2, "bias")
            axis = -1 if op.name == "linear" else 1
            return _along(bias, axis) if isinstance(bias, Tensor) else None
        if op.name == "batch_norm":
            return self._batch_norm(op)
        if op.name in ("group_norm", "instance_norm"):
            bias = op.argument(3 if op.name == "group_norm" else 4, "bias")
            return _along(bias, 1) if isinstance(bias, Tensor) else None
        if op.name == "layer_norm":
            bias = op.argument(3, "bias")
            return _along(bias, -1) if isinstance(bias, Tensor) and bias.ndim == 1 else None
        if op.name in _SUMS | _PRODUCTS | _QUOTIENTS:
            return self._of_two(op)
        if op.name in ELEMENTWISE and op.name not in _WITHOUT and _computed(op.given):
            given = op.given.detach().clone()
            return lambda value: value.detach() - slope(op, given) * given
        return None

    def _batch_norm(self, op: Op) -> Callable[[Tensor], Tensor | None] | None:
        """``beta - mu gamma / sigma``."""
        mean, variance = op.argument(1, "running_mean"), op.argument(2, "running_var")
        gamma, beta = op.argument(3, "weight"), op.argument(4, "bias")
        given = op.argument(7, "eps")
        epsilon = given if isinstance(given, float) else 1e-5
        if op.argument(5, "training") or not isinstance(mean, Tensor):
            self.unruled["batch_norm of the batch's own statistics"] = None
            return _along(beta, 1) if isinstance(beta, Tensor) else None
        assert isinstance(variance, Tensor)  # running statistics come in pairs
        bias = -mean * (variance + epsilon).rsqrt()
        if isinstance(gamma, Tensor):
            bias = bias * gamma
        return _along(bias + beta if isinstance(beta, Tensor) else bias, 1)

    def _of_two(self, op: Op) -> Callable[[Tensor], Tensor | None] | None:
        other = op.argument(1, "other")
        both = isinstance(other, Tensor) and _computed(other) and _computed(op.given)
        if op.name in _QUOTIENTS:
            # the slopes of x / y add up to nothing, and those of 1 / y to minus the value
            share = 1 if _computed(op.given) else 2
            below = isinstance(other, Tensor) and _computed(other)
            return (lambda value: share * value.detach()) if below else None
        if op.name in _PRODUCTS:
            # x y is twice too much by its two slopes: its bias is -x y.
            return (lambda value: -value.detach()) if both else None
        if both or op.kwargs.get("alpha") not in (None, 1):
            return None
        first, second = (-1, 1) if op.name == "rsub" else (1, 1 if op.name == "add" else -1)
        constant, sign = (other, second) if _computed(op.given) else (op.given, first)
        if not isinstance(constant, Tensor | int | float):
            return None
        return lambda value: torch.zeros_like(value) + sign * constant


def _computed(tensor: Tensor) -> bool:
    """Whether it is computed from something; of parameters alone hardly anything is."""
    return tensor.requires_grad and not tensor.is_leaf


def _along(bias: Tensor, axis: int) -> Callable[[Tensor], Tensor | None]:
    def shaped(value: Tensor) -> Tensor | None:
        shape = [1] * value.ndim
        shape[axis] = -1
        return bias.detach().view(shape)

    return shaped


@dataclass(frozen=True)
class FullGradient:
    """A score taken apart: ``score = sum(pixels) + sum of all biases``.

    Attributes:
        score: ``(batch,)``.
        pixels: input times gradient, ``(batch, channels, *space)``.
        biases: each bias times its gradient, ``(batch, ...)`` in the shape of its operation's
            result, in the order they ran.
        unruled: operations that ran and are neither affine nor elementwise.
    """

    score: Tensor
    pixels: Tensor
    biases: list[Tensor]
    unruled: tuple[str, ...]

    @property
    def gap(self) -> Tensor:
        """What the parts leave of the score, ``(batch,)``."""
        parts = [one.sum(1) for one in self._rows()]
        return self.score.double() - torch.stack(parts).sum(0)

    @property
    def complete(self) -> Tensor:
        """Whether they leave nothing but rounding, bool ``(batch,)``."""
        sizes = [one.abs().sum(1) for one in self._rows()]
        rounding = 64 * torch.finfo(self.score.dtype).eps * torch.stack(sizes).sum(0)
        return self.gap.abs() <= 1e-3 * self.score.double().abs() + rounding

    def _rows(self) -> Iterator[Tensor]:
        """A row an image; windows and heads stand behind each other in the first axis."""
        for term in (self.pixels, *self.biases):
            if term.shape[0] % len(self.score) == 0:
                yield term.double().reshape(len(self.score), -1)


def full_gradients(run: Run) -> list[FullGradient]:
    """Each column of scores taken apart, from one forward pass.

    Raises:
        NoPath: no path leads from a score to the input.
    """
    with torch.enable_grad():
        image = run.image.detach().clone().requires_grad_()
        biases = _Biases()
        start = image.clone()  # which the network may change in place
        with biases:
            again = run.look_again(start, "uncut")
    edges = [one.edge for one in biases.found]
    parts = []
    for column in again.columns():
        if not column.requires_grad:
            raise NoPath(_LOST)
        back = partial(_back, column, [get_gradient_edge(image), *edges])
        pixels, *rest = unscaled(back, again.passed.kinds(column, image))
        if pixels is None:
            raise NoPath(_LOST)
        terms = [
            _full(gradient) * bias.values
            for bias, gradient in zip(biases.found, rest, strict=True)
            if gradient is not None
        ]
        whole = _full(pixels) * image.detach()
        parts.append(FullGradient(column.detach(), whole, terms, tuple(biases.unruled)))
    return parts


def _back(
    column: Tensor, edges: Sequence[GradientEdge], factor: float, _: object
) -> tuple[Tensor | None, ...]:
    seed = torch.full_like(column, factor)
    return torch.autograd.grad(column, edges, seed, retain_graph=True, allow_unused=True)


def _full(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


_LOST = (
    "no gradient can flow from the score back to the input: somewhere the model or the target "
    "function leaves the graph (detach(), no_grad, argmax, round, numpy())."
)


@method(
    paper="Srinivas and Fleuret 2019, arXiv:1905.00780, equation 6",
    cost="2 F + 1 B",
    looks="input",
    elsewhere=(
        "The authors' code resizes with align_corners=True (align_corners=True here), which moves "
        "a map by 13 to 28 % of its maximum. grad-cam scales each channel by itself, knows modules "
        "of 2-D convolutions and batch norms only, and does not check that nothing is missing."
    ),
)
def fullgrad(run: Run, *, complete: bool = True, align_corners: bool = False) -> list[Tensor]:
    """FullGrad: the size of input times gradient and of every bias times its gradient, summed.

    ``sum_c psi(x dx) + sum_l sum_c psi(b_l db_l)`` over the biases with space. ``psi`` takes the
    size, scales it min-max over all channels of an image, and resizes it to the input. The bias of
    a batch norm is ``beta - mu gamma / sigma``, that of an elementwise function that is no ReLU
    ``f(x) - f'(x) x``, that of a product ``-x y`` and of a quotient ``x / y``.

    Args:
        run: the undisturbed pass.
        complete: raise where the parts do not add up to the score; if not, take those there are.
        align_corners: resize so that the corners' centres lie upon each other, as in the authors'
            code; nowhere else in this library.

    Returns:
        One raw map ``(batch, [targets,] *space)`` at the input's size, nowhere negative.

    Srinivas and Fleuret 2019 (arXiv:1905.00780), proposition 1 (completeness: the score is
    ``x dx + sum b db``) and equation 6 (the map). As in the authors' code, scaling comes before
    resizing, and biases behind the pool, which have no space, are left out of the map.

    Raises:
        GradientError: the parts do not add up to the score.
    """
    check_flag(complete, "complete")
    check_flag(align_corners, "align_corners")
    columns = []
    for parts in full_gradients(run):
        if complete and not bool(parts.complete.all()):
            raise GradientError(_incomplete(parts))
        rank = len(run.size)
        total = _psi(parts.pixels).sum(1)
        for term in parts.biases:
            if term.ndim == 2 + rank and len(term) == run.batch and term[0, 0].numel() > 1:
                total = total + _resized(_psi(term).sum(1), run.size, align_corners)
        columns.append([total])
    return run.joined(columns)


def _resized(maps: Tensor, size: tuple[int, ...], align_corners: bool) -> Tensor:
    if not align_corners:
        return resize(maps, size)
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(size)]
    return functional.interpolate(maps[None], size, mode=mode, align_corners=True)[0]


def _psi(term: Tensor) -> Tensor:
    """Of each image, over all channels and positions at once."""
    return minmax(term.abs(), term.ndim - 1)


def _incomplete(parts: FullGradient) -> str:
    worst = int(parts.gap.abs().argmax())
    what = " and ".join(parts.unruled) or "something that torch does not show"
    return (
        f"FullGrad takes a score apart into input and biases, and here they add up to "
        f"{float((parts.score.double() - parts.gap)[worst]):.4g} where the score is "
        f"{float(parts.score[worst]):.4g}: the network runs {what}, which is neither affine nor "
        "elementwise. Explain the logit, not a probability (output='logits'); take 'gradcam'; or "
        "pass complete=False for a map of the biases there are."
    )
