"""Catching attention: what each attention of a network weighed, while the network runs.

Nothing of the model is replaced. For the call a `TorchFunctionMode` stands between the network and
torch: a fused kernel gives up its weights because the same product is computed in the open, and a
softmax is an attention where its result is multiplied with values. Fast paths of
`torch.nn.MultiheadAttention` are not taken by themselves while a mode is on. Forward hooks tell
which module was running; they are gone with the block. Knows modules and tensors; knows neither
images nor targets.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FunctionType
from typing import TypeVar

import torch
import torch.nn.functional as F  # noqa: N812  (as everywhere in torch)
from torch import Tensor, nn

from gradcam_hooks.errors import LayerError
from gradcam_hooks.network.half import unscaled
from gradcam_hooks.network.hooking import entered, hooked
from gradcam_hooks.network.modes import FunctionMode
from gradcam_hooks.network.modules import describe, hookable
from gradcam_hooks.network.outputs import main_tensor
from gradcam_hooks.network.tree import tensors

__all__ = ["Attention", "Caught", "Visit", "catching", "gradients"]

_T = TypeVar("_T")

_PRODUCTS = ("matmul", "__matmul__", "bmm", "baddbmm")
_WATCHED = 4
"""How many of the last products and softmaxes are remembered: relative positions come between."""


@dataclass(frozen=True)
class Attention:
    """One attention that ran: ``output = weights @ value``.

    Each tensor is in the graph, on the way to the network's output, as the module computed it:
    ``(batch, heads, tokens, ...)`` or ``(batch * heads, tokens, ...)``; `split` makes the first of
    the second. What a module computes in a way that cannot be followed is None.

    Attributes:
        name: the module that was running.
        weights: ``(..., queries, keys)``, after the softmax.
        query: ``(..., queries, channels)``, as the product of scores took it.
        key: ``(..., keys, channels)``.
        value: ``(..., keys, channels)``.
        output: ``(..., queries, channels)``, ahead of the projection that joins the heads.
    """

    name: str
    weights: Tensor
    query: Tensor | None
    key: Tensor | None
    value: Tensor | None
    output: Tensor | None

    @property
    def queries(self) -> int:
        """How many tokens ask."""
        return self.weights.shape[-2]

    @property
    def keys(self) -> int:
        """How many tokens are asked."""
        return self.weights.shape[-1]

    def split(self, tensor: Tensor, batch: int) -> Tensor:
        """One of its tensors, or a gradient there, as ``(batch, heads, ...)``, in float32 at least.

        Raises:
            LayerError: it is not one matrix for each image and head.
        """
        if tensor.dtype in (torch.float16, torch.bfloat16):
            tensor = tensor.float()
        if tensor.ndim == 3 and tensor.shape[0] % batch == 0:
            return torch.unflatten(tensor, 0, (batch, -1))
        if tensor.ndim == 4 and tensor.shape[0] == batch:
            return tensor
        raise LayerError(
            f"the attention in {describe(self.name)} has weights {tuple(self.weights.shape)} for "
            f"{batch} images, where (images, heads, tokens, tokens) is expected: it attends within "
            "windows or groups, so its weights do not say how one token reads the whole image. "
            "Take a method that looks at a layer, such as 'gradcam'."
        )


@dataclass(frozen=True)
class Visit:
    """One call of a module: the shapes that went in and the shape that came out."""

    inputs: tuple[tuple[int, ...], ...]
    output: tuple[int, ...] | None


@dataclass
class Caught:
    """What was seen in one run: the attentions, and the calls of modules, in order.

    Attributes:
        attentions: in the order in which they ran.
        visits: the last call of each module that ran, by name, in the order in which they began.
    """

    attentions: list[Attention] = field(default_factory=list)
    visits: dict[str, Visit] = field(default_factory=dict)


@contextmanager
def catching(model: nn.Module) -> Iterator[Caught]:
    """While the block is open, every attention of ``model`` that runs is caught.

    Where gradients are on, the weights are in the graph: those that nothing ahead of them asks a
    gradient for (a frozen network) start one.
    """
    caught, running = Caught(), list[str]()

    def enter(name: str, args: object, kwargs: object) -> None:
        running.append(name)
        given = (*tensors(args), *tensors(kwargs))
        shapes = tuple(tuple(one.shape) for one in given if one.ndim > 2)
        caught.visits[name] = Visit(shapes, None)

    def leave(name: str, output: object) -> None:
        while running and running.pop() != name:
            pass  # left behind by a module that raised, where the network went on
        given = main_tensor(output)
        shape = None if given is None else tuple(given.shape)
        caught.visits[name] = Visit(caught.visits[name].inputs, shape)

    modules = hookable(model)
    with entered(modules, enter), hooked(modules, leave), _Catch(caught.attentions, running):
        yield caught


def gradients(
    score: Tensor, at: Sequence[Tensor], seed: Tensor | None = None
) -> tuple[Tensor | None, ...]:
    """The gradient of ``score`` at tensors of a run that was caught; None where none comes.

    Where the network checkpoints, layers run again in the backward pass, and must run as they did.
    """
    where = [one for one in at if one.requires_grad]
    if not score.requires_grad or not where:
        return (None,) * len(at)
    seed = torch.ones_like(score) if seed is None else seed

    def grad(factor: float, _: object) -> Sequence[Tensor | None]:
        run = _opened(torch.autograd.grad)
        return run(score, where, seed * factor, retain_graph=True, allow_unused=True)

    with _Catch([], []):
        found = unscaled(grad, {score.dtype, *(one.dtype for one in where)})
    given = dict(zip(map(id, where), found, strict=True))
    return tuple(given.get(id(one)) for one in at)


@dataclass(frozen=True)
class _Product:
    left: Tensor
    right: Tensor
    shape: torch.Size


@dataclass(frozen=True)
class _Softmax:
    weights: Tensor
    scores: _Product | None


class _Catch(FunctionMode):
    """Sees every call of torch; while it looks into one, it is off."""

    def __init__(self, found: list[Attention], running: Sequence[str]) -> None:
        super().__init__()
        self._found, self._running = found, running
        self._products: deque[_Product] = deque(maxlen=_WATCHED)
        self._softmaxes: deque[_Softmax] = deque(maxlen=_WATCHED)

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return self._fused(*args, **kwargs)  # type: ignore[arg-type]  # torch's own arguments
        if func is F.multi_head_attention_forward:
            with self:  # on again inside, where the attention itself is
                return _opened(F.multi_head_attention_forward)(*args, **kwargs)
        result = func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if name == "softmax" and isinstance(result, Tensor):
            return self._softmax(result, args, kwargs)
        if name in _PRODUCTS or name == "einsum":
            self._product(name, result, (*args, *kwargs.values()))
        return result

    def _fused(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        *,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        if enable_gqa:
            groups = query.shape[-3] // key.shape[-3]
            key, value = (one.repeat_interleave(groups, -3) for one in (key, value))
        kind = torch.promote_types(query.dtype, torch.float32)  # as the kernels do inside
        factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
        scores = (query.to(kind) * factor) @ key.to(kind).mT
        dead: Tensor | None = None
        if is_causal:
            attn_mask = torch.ones(scores.shape[-2:], device=scores.device).tril() > 0
        if attn_mask is not None:
            if attn_mask.dtype == torch.bool:
                scores = scores.masked_fill(~attn_mask, -torch.inf)
            else:
                scores = scores + attn_mask
            dead = scores.isneginf().all(-1, keepdim=True)  # the kernels give zeros there, not NaN
            scores = scores.masked_fill(dead, 0)
        weights = scores.softmax(-1)
        weights = _in_graph(weights if dead is None else weights.masked_fill(dead, 0))
        kept = F.dropout(weights, dropout_p) if dropout_p else weights
        output = (kept @ value.to(kind)).to(query.dtype)
        self._found.append(Attention(self._module, weights, query, key, value, output))
        return output

    def _softmax(
        self, result: Tensor, args: Sequence[object], kwargs: Mapping[str, object]
    ) -> Tensor:
        axis = kwargs.get("dim", args[1] if len(args) > 1 else None)
        if result.ndim < 3 or axis not in (-1, result.ndim - 1):
            return result
        scores = next((one for one in reversed(self._products) if one.shape == result.shape), None)
        result = _in_graph(result)
        self._softmaxes.append(_Softmax(result, scores))
        return result

    def _product(self, name: str, result: object, given: Sequence[object]) -> None:
        left_right = [one for one in given if isinstance(one, Tensor)][-2:]
        if not isinstance(result, Tensor) or len(left_right) < 2:
            return
        left, right = left_right
        for softmax in reversed(self._softmaxes):
            if left.shape == softmax.weights.shape:
                self._softmaxes.remove(softmax)
                plain = name != "einsum" and right.shape[-2:-1] == left.shape[-1:]
                scores = softmax.scores
                self._found.append(
                    Attention(
                        self._module,
                        softmax.weights,
                        None if scores is None else scores.left,
                        None if scores is None else scores.right.mT,
                        right if plain else None,
                        result if plain else None,
                    )
                )
                return
        if name != "einsum" and min(left.ndim, right.ndim) > 2:
            self._products.append(_Product(left, right, result.shape))

    @property
    def _module(self) -> str:
        return self._running[-1] if self._running else ""


def _in_graph(weights: Tensor) -> Tensor:
    """The weights where a gradient can be asked for, if gradients are on."""
    if torch.is_grad_enabled() and not weights.requires_grad:
        return weights.detach().requires_grad_()
    return weights


def _opened(function: Callable[..., _T]) -> Callable[..., _T]:
    """One of torch's own functions, which does not hand itself to a mode, but runs with it on.

    The first thing such a function does is to ask whether a mode is on, and if so to run with it
    off. This is the same code with that one question answered by no.
    """
    assert isinstance(function, FunctionType)  # a plain function of torch's
    names = {**function.__globals__, "has_torch_function": lambda _: False}
    opened = FunctionType(function.__code__, names, function.__name__, function.__defaults__)
    opened.__kwdefaults__ = function.__kwdefaults__
    return opened
