"""What a method's function returned, checked: a map is what its caller goes on to reckon with.

The functions are anybody's. One that fails, or returns what is no map, is told by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from gradcam_hooks.errors import GradCamHooksError, MethodError
from gradcam_hooks.methods.registry import Found, Method, Rule
from gradcam_hooks.runs.run import Run

__all__ = ["checked_raws", "checked_rule"]


def checked_rule(rule: Rule, options: Mapping[str, object]) -> Callable[[Tensor, Tensor], Tensor]:
    """The rule with its options, whose map is one.

    What is returned raises `MethodError` where the rule fails, gives no tensor ``(batch, *space)``,
    or writes into the activation or the gradient.
    """

    def checked(activation: Tensor, gradient: Tensor) -> Tensor:
        written = _written(activation, gradient)
        try:
            raw = rule(activation, gradient, **options)
        except (GradCamHooksError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # the rule is anybody's code
            raise MethodError(
                f"{_name(rule)} failed on an activation {tuple(activation.shape)} and its gradient "
                f"of the same shape: {type(error).__name__}: {error}"
            ) from error
        if _written(activation, gradient) != written:
            raise MethodError(
                f"{_name(rule)} writes into what it is given, which others read after it. Let it "
                "make new tensors: x.relu() for x.relu_(), x = x * y for x *= y."
            )
        return _map(raw, _name(rule), activation)

    return checked


def checked_raws(
    row: Method, run: Run, found: Sequence[Tensor] | Found
) -> Sequence[Tensor] | Found:
    """What a procedure returned, if it is a raw map ``(batch, [targets,] *space)`` for each layer.

    Raises:
        MethodError: it is anything else.
    """
    name, layers, lead = row.home, len(run.layers) or 1, tuple(run.scores.shape)
    if isinstance(found, Found):
        return found
    if not isinstance(found, list | tuple) or not all(isinstance(one, Tensor) for one in found):
        raise MethodError(
            f"{name} returned {type(found).__name__}; a procedure returns a list with a tensor "
            "(batch, [targets,] *space) for each layer. Return [raw] where there is one."
        )
    if len(found) != layers:
        raise MethodError(
            f"{name} returned {len(found)} maps and not {layers}: one for each of run.layers, in "
            "order, and where it looks elsewhere than at a layer, one."
        )
    for raw in found:
        if tuple(raw.shape[: len(lead)]) != lead or raw.ndim != len(lead) + len(run.size):
            axes = (*map(str, lead), *["any"] * len(run.size))
            raise MethodError(
                f"{name} returned a map {tuple(raw.shape)}; here it is to be ({', '.join(axes)}), "
                "images first, then targets, as run.joined puts together what there is for each "
                "of run.columns(), then space."
            )
    return found


def _map(raw: object, name: str, activation: Tensor) -> Tensor:
    expected = (len(activation), *activation.shape[2:])
    if not isinstance(raw, Tensor):
        raise MethodError(
            f"{name} returned {type(raw).__name__}; a rule returns a tensor (batch, *space), "
            f"here {expected}."
        )
    if tuple(raw.shape) != expected:
        hint = " Add up the channels: .sum(1)." if raw.shape == activation.shape else ""
        raise MethodError(
            f"{name} returned {tuple(raw.shape)} for an activation {tuple(activation.shape)}; a "
            f"rule returns one map for each image, (batch, *space), here {expected}.{hint}"
        )
    if raw.is_complex():
        raise MethodError(f"{name} returned complex numbers; a map is real. Return .abs().")
    return raw if raw.is_floating_point() else raw.to(activation.dtype)


def _written(*tensors: Tensor) -> list[int]:
    """A number that changes when a tensor is written to; of inference tensors there is none."""
    return [-1 if one.is_inference() else one._version for one in tensors]


def _name(rule: Rule) -> str:
    return getattr(rule, "__qualname__", type(rule).__qualname__)
