"""LIFT-CAM: channels weighted by their DeepLIFT contribution, from the layer to the score.

Two runs of the network, the same operations in the same order: one with the layer's activation at
0, whose values are kept, and one as it is, in which every nonlinear operation behind the layer gets
DeepLIFT's multiplier for a derivative. No module is touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional

from gradcam_hooks.errors import GradientError
from gradcam_hooks.methods.registry import method
from gradcam_hooks.network.hooking import entered, hooked
from gradcam_hooks.network.modules import describe, named
from gradcam_hooks.network.outputs import main_tensor, with_tensor
from gradcam_hooks.runs.function_rules import ELEMENTWISE, UNRULED, Back, Op, Watching, ruled, slope
from gradcam_hooks.runs.run import Run, TappedLayer

__all__ = ["contributions", "liftcam"]

_POOLS = frozenset(f"{kind}max_pool{rank}d" for kind in ("", "adaptive_") for rank in (1, 2, 3))
_PRODUCTS = frozenset(("mul", "multiply"))
_QUOTIENTS = frozenset(("div", "divide", "true_divide"))


class _Lifting(Watching):
    """Either of the two runs; what it has to remember starts when the layer has run."""

    def __init__(self) -> None:
        super().__init__(ELEMENTWISE | _POOLS | _PRODUCTS | _QUOTIENTS | UNRULED)
        self.active = False
        self.unruled: dict[str, None] = {}

    def restart(self) -> None:
        """The network begins a run."""
        self.active = False

    def replaced(self, op: Op) -> object:
        if not self.active:
            return op.plain()
        if op.name in UNRULED or (op.name in _POOLS and op.argument(6, "return_indices")):
            self.unruled[op.name] = None
            return op.plain()
        if op.name in _QUOTIENTS:
            if isinstance(below := op.argument(1, "other"), Tensor) and below.requires_grad:
                self.unruled[op.name] = None
            return op.plain()
        second = op.argument(1, "other") if op.name in _PRODUCTS else None
        if op.name in _PRODUCTS and not (isinstance(second, Tensor) and second.is_floating_point()):
            return op.plain()  # by a number
        if op.name == "pow" and isinstance(op.argument(1, "exponent"), Tensor):
            self.unruled[op.name] = None
            return op.plain()
        return self.lifted(op, second if isinstance(second, Tensor) else None)

    def lifted(self, op: Op, second: Tensor | None) -> object:
        """What takes the place of one operation that has a rule."""
        raise NotImplementedError


class _Reference(_Lifting):
    """The run with the activation at 0: what went into each operation, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, Tensor, Tensor | None]] = []

    def restart(self) -> None:
        super().restart()
        self.seen.clear()

    def lifted(self, op: Op, second: Tensor | None) -> object:
        kept = None if second is None else second.detach().clone()
        self.seen.append((op.name, op.given.detach().clone(), kept))
        return op.plain()


class _Lifted(_Lifting):
    """The run with the activation as it is, each operation beside its reference."""

    def __init__(self, reference: _Reference) -> None:
        super().__init__()
        self._seen = reference.seen
        self._at = 0

    def restart(self) -> None:
        super().restart()
        self._at = 0

    def lifted(self, op: Op, second: Tensor | None) -> object:
        name, given, other = (
            self._seen[self._at] if self._at < len(self._seen) else ("", None, None)
        )
        self._at += 1
        if given is None or name != op.name or given.shape != op.given.shape:
            raise GradientError(
                "LIFT-CAM compares two runs operation by operation, and this network runs other "
                "operations where the layer's activation is 0. Take 'ablationcam'."
            )
        if not torch.is_grad_enabled():
            return op.plain()
        if second is not None and other is not None:
            return op.put(_product(op, second, given, other))
        if not op.given.requires_grad:
            return op.plain()
        return op.put(_pooled(op, given) if op.name in _POOLS else _rescaled(op, given))


def _same(value: Tensor, reference: Tensor) -> Tensor:
    """Where two values are too near for their difference to be divided by."""
    share = 16 * torch.finfo(value.dtype).eps
    return (value - reference).abs() <= share * (value.abs() + reference.abs()) + 1e-10


def _rescaled(op: Op, reference: Tensor) -> Tensor:
    """The rescale rule: the multiplier is ``(f(x) - f(x0)) / (x - x0)``."""

    def ruled_run() -> tuple[Tensor, Back]:
        given = op.given.detach()
        value = op.at(given)
        same = _same(given, reference)
        apart = torch.where(same, torch.ones_like(given), given - reference)
        multiplier = (value - op.at(reference)) / apart
        if bool(same.any()):
            multiplier = torch.where(same, slope(op, given), multiplier)
        return value, lambda gradient: gradient * multiplier

    return ruled(ruled_run, op.given)


def _pooled(op: Op, reference: Tensor) -> Tensor:
    """The rescale rule for a maximum, as DeepLIFT's authors have it in their code.

    Up to the larger of the two maxima the difference is the doing of the value's own largest
    place, from there on of the reference's.
    """
    rank = int(op.name[-2])
    pool = getattr(functional, op.name)
    rest = {**op.kwargs, "return_indices": True}

    def places(at: Tensor) -> tuple[Tensor, Tensor]:
        value, index = pool(at, *op.args[1:], **rest)
        return value, index.flatten(-rank)

    def ruled_run() -> tuple[Tensor, Back]:
        given = op.given.detach()
        value, index = places(given)
        base, base_index = places(reference)
        top = torch.maximum(value, base)
        same = _same(given, reference)
        apart = torch.where(same, torch.ones_like(given), given - reference)

        def back(gradient: Tensor) -> Tensor:
            def spread(index: Tensor, part: Tensor) -> Tensor:
                flat = torch.zeros_like(given).flatten(-rank)
                return flat.scatter_add(-1, index, part.flatten(-rank)).view_as(given)

            found = spread(index, gradient * (top - base))
            found = found + spread(base_index, gradient * (value - top))
            return torch.where(same, spread(index, gradient), found / apart)

        return value, back

    return ruled(ruled_run, op.given)


def _product(op: Op, second: Tensor, given: Tensor, other: Tensor) -> Tensor:
    """Of a product each factor gets the mean of the other with and without the activation."""

    def ruled_run() -> tuple[Tensor, Back]:
        for_first = (second.detach() + other) / 2
        for_second = (op.given.detach() + given) / 2

        def back(gradient: Tensor) -> tuple[Tensor | None, ...]:
            return (
                (gradient * for_first).sum_to_size(op.given.shape),
                (gradient * for_second).sum_to_size(second.shape),
            )

        return op.given.detach() * second.detach(), back

    return ruled(ruled_run, op.given, second)


@contextmanager
def _running(run: Run, layer: TappedLayer, watch: _Lifting, *, zero: bool) -> Iterator[None]:
    """While open, ``watch`` starts when the layer has run, and where asked with 0 in its place."""
    calls = 0

    def begin(name: str, args: object, kwargs: object) -> None:
        nonlocal calls
        calls = 0
        watch.restart()

    def leave(name: str, output: object) -> object:
        nonlocal calls
        mine, calls = calls == layer.call, calls + 1
        given = main_tensor(output)
        if not mine or given is None:
            return None
        watch.active = True
        if not zero:
            return None
        empty = torch.zeros_like(layer.layout.channels_first(given))
        return with_tensor(output, given, layer.layout.put(empty, given))

    module = {layer.name: named(run.model)[layer.name]}
    with entered({"": run.model}, begin), hooked(module, leave), watch:
        yield


def contributions(run: Run, layer: TappedLayer) -> list[Tensor]:
    """DeepLIFT's contributions of a layer's activation against 0, one tensor for each target.

    They add up to the score less the score with 0 in the activation's place.

    Returns:
        For each column of scores ``(batch, channels, *space)``.

    Raises:
        GradientError: they do not, because something behind the layer has no rule.
    """
    reference = _Reference()
    with _running(run, layer, reference, zero=True):
        without = run.look_again(run.image, "forward")
    lifted = _Lifted(reference)
    with _running(run, layer, lifted, zero=False):
        again = run.look_again(run.image, run.passed.way)
    at = [one.label for one in again.layers].index(layer.label)
    activation = again.layers[at].activation()
    found = []
    for column, base in zip(again.columns(), without.columns(), strict=True):
        parts = again.gradients(column)[at] * activation
        fall = (column.detach() - base).to(parts)
        total, size = parts.flatten(1).sum(1), parts.flatten(1).abs().sum(1)
        rounding = 64 * torch.finfo(column.dtype).eps * (size + column.detach().abs().to(size))
        wrong = (total - fall).abs() > 1e-3 * fall.abs() + rounding
        if bool(wrong.any()):
            first = int(wrong.int().argmax())
            raise GradientError(_incomplete(layer, total[first], fall[first], lifted.unruled))
        found.append(parts)
    return found


def _incomplete(layer: TappedLayer, total: Tensor, fall: Tensor, unruled: dict[str, None]) -> str:
    what = " and ".join(unruled) or "something that torch does not show"
    return (
        f"LIFT-CAM cannot tell what {describe(layer.label)} contributes: DeepLIFT's rescale rule "
        f"has no answer for {what} behind it, so the contributions add up to {float(total):.4g} "
        f"where the score falls by {float(fall):.4g}. Take 'ablationcam', which measures it, or a "
        "later layer; and explain the logit, not a probability (output='logits')."
    )


@method(
    paper="Jung and Oh 2021, arXiv:2102.05228",
    cost="3 F + 1 B",
    elsewhere=(
        "The authors' code takes captum's DeepLift, which knows modules only, loses contributions "
        "where the windows of a max pool overlap, and takes the plain derivative where the output "
        "of one nonlinear module is the input of the next."
    ),
)
def liftcam(run: Run) -> list[Tensor]:
    """LIFT-CAM: channels weighted by their DeepLIFT contributions against 0, summed.

    ``sum_k w_k A_k``, ``w_k`` the sum over space of DeepLIFT's contributions of A_k.

    Args:
        run: the pass through the layers.

    Returns:
        For each layer the signed raw map ``(batch, [targets,] *space)``.

    Jung and Oh 2021 (arXiv:2102.05228): DeepLIFT (Shrikumar et al. 2017, the rescale rule) from the
    layer to the score against an activation of 0, an estimate of the channels' Shapley values that
    is exact where the tail is linear; there it is Ablation-CAM too. Elementwise functions and max
    pools follow the rule, of a product each factor gets the mean of the other (squeeze and
    excitation); for what has no rule (norms of a sample, attention) the contributions would not
    add up, and that is an error.

    Raises:
        GradientError: something behind the layer has no rule.
    """
    columns: list[list[Tensor]] = [[] for _ in run.columns()]
    for layer in run.layers:
        activation = layer.activation()
        for raws, parts in zip(columns, contributions(run, layer), strict=True):
            weights = parts.flatten(2).sum(2)
            raws.append(torch.einsum("bc,bc...->b...", weights.to(activation), activation))
    return run.joined(columns)
