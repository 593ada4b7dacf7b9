"""Where the logits are in what a model returned: found by rule, or as the user says.

The rule: a tensor is the logits; else what is called ``logits``; else the only floating-point
tensor of shape ``(batch, classes)``. Where that leaves a choice, the error draws the output as
a tree with shapes. Knows tensors and containers; knows no model.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from gradcam_hooks.errors import InputError, LayerError, OutputError
from gradcam_hooks.network.final_softmax import before_softmax, hand_on, sum_to_one
from gradcam_hooks.network.tree import children, drawn, mapped, tensors

__all__ = [
    "OutputSpec",
    "choose",
    "class_logits",
    "described",
    "detached",
    "find_dense",
    "find_logits",
    "flat_logits",
    "main_tensor",
    "probabilities",
    "told_grid",
    "with_tensor",
]

OutputSpec = str | int | Callable[[object], object] | None
"""Which part of the model's output to explain: a key, an index, a callable, or None: by rule.

``"logits"`` is a key where the output has one so called, and else what went into the softmax or
sigmoid that the model ends in."""


def choose(output: object, spec: OutputSpec) -> object:
    """The part of ``output`` that ``spec`` names; the whole of it for None.

    Where ``"logits"`` is no part of it, it is what went into the softmax or sigmoid at the model's
    end, if the model ran under `final_softmax.remembering`.

    Raises:
        OutputError: the output has no such part.
    """
    if spec is None:
        return output
    if callable(spec):
        return spec(output)
    parts = list(children(output))
    for position, (key, part) in enumerate(parts):
        if key == spec or position == spec:
            return part
    if spec == "logits":
        before = before_softmax(find_logits(output))
        if before is None:
            raise OutputError(
                "output='logits' asks for a part of that name, or for what goes into the softmax "
                f"or sigmoid at the model's end, and {_what(output)} that the model returns has "
                "neither. If these are the logits, leave output= out; else pass a function that "
                "takes the output and returns them."
            )
        return before
    if not parts:
        raise OutputError(
            f"output={spec!r} asks for a part, but the model returns {_what(output)}. "
            "Leave output= out."
        )
    raise OutputError(f"the model's output has no part {spec!r}. It is\n{drawn(output)}")


def find_logits(output: object) -> Tensor:
    """The logits in ``output``, shape ``(batch, classes)`` or whatever the model's tensor has.

    Raises:
        OutputError: no tensor, or more than one that could be meant.
    """
    if isinstance(output, Tensor):
        return output
    parts = dict(children(output))
    named = parts.get("logits")
    if isinstance(named, Tensor):
        return named
    candidates = [t for t in tensors(output) if t.ndim == 2 and t.is_floating_point()]
    if len(candidates) == 1:
        return candidates[0]
    found = "no tensor of shape (batch, classes)" if not candidates else "several that could be"
    shown = described(output)
    raise OutputError(
        f"looking for the logits in the model's output, found {found}. It is\n{shown}\n"
        "Pass output= a key, an index or a function that takes the output and returns the logits."
    )


def flat_logits(logits: Tensor) -> Tensor:
    """Logits ``(batch, classes, 1, ...)``, as heads of convolutions give them, without the ones."""
    return logits.flatten(1) if logits.ndim > 2 and logits[0, :1].numel() == 1 else logits


def find_dense(output: object) -> Tensor:
    """The logits ``(batch, classes, *space)`` in a segmentation's output.

    Raises:
        OutputError: no such tensor, or more than one that could be meant.
    """
    parts = dict(children(output))
    named = [part for key in ("logits", "out") if isinstance(part := parts.get(key), Tensor)]
    found = named or [t for t in tensors(output) if t.ndim >= 4 and t.is_floating_point()]
    if isinstance(output, Tensor):
        found = [output]
    if len(found) != 1 or found[0].ndim < 3 or not found[0].is_floating_point():
        shown = described(output)
        raise OutputError(
            "looking for the logits of a segmentation, (batch, classes, *space), in the model's "
            f"output. It is\n{shown}\nPass output= a key, an index or a function that takes the "
            "output and returns them."
        )
    return found[0]


def class_logits(output: object, batch: int) -> Tensor | None:
    """The logits ``(batch, classes)``, out of the graph; None where the output has no such."""
    try:
        logits = flat_logits(find_logits(output).detach())
    except OutputError:  # a detector's, or a target function's own matter
        return None
    return logits if logits.ndim == 2 and len(logits) == batch and logits.shape[1] else None


def probabilities(logits: Tensor, *, multi_label: bool = False) -> Tensor:
    """The classes' probabilities of logits ``(batch, classes)``, float64, of the same shape.

    Softmax; sigmoid of a single logit and of each label of a multi-label network; and as they are
    where a row is non-negative and sums to one, since some networks end in a softmax of their own.

    >>> import torch
    >>> probabilities(torch.tensor([[0.0, 0.0], [0.25, 0.75]])).tolist()
    [[0.5, 0.5], [0.25, 0.75]]
    """
    exact = logits.detach().double()
    if logits.shape[1] == 1 or multi_label:
        return exact.sigmoid()
    return exact.where(sum_to_one(logits), exact.softmax(1))


def main_tensor(output: object) -> Tensor | None:
    """What a layer gives, where it gives more than a tensor; None where that is not clear.

    The first of a tuple (a transformer's block, an LSTM, an attention), ``last_hidden_state``, or
    the only floating-point tensor there is.
    """
    if isinstance(output, Tensor):
        return output
    parts = dict(children(output))
    named = parts.get("last_hidden_state")
    if isinstance(named, Tensor):
        return named
    if isinstance(output, tuple) and output and isinstance(output[0], Tensor):
        return output[0]
    floating = [tensor for tensor in tensors(output) if tensor.is_floating_point()]
    return floating[0] if len(floating) == 1 else None


def told_grid(output: object) -> tuple[int, ...] | None:
    """The grid that a layer tells beside its tokens: ``(tokens, (depth, height, width))``.

    So do the blocks of torchvision's and timm's MViT, and of others whose tokens are pooled.
    """
    if not isinstance(output, tuple):
        return None
    for part in output:
        numbers = isinstance(part, list | tuple) and len(part) in (2, 3)
        if numbers and all(type(one) is int and one > 0 for one in part):
            return tuple(part)
    return None


def with_tensor(output: object, old: Tensor, new: Tensor) -> object:
    """The same structure with ``new`` in the place of the tensor ``old``.

    Raises:
        LayerError: a layer returned what nothing can be put into.
    """
    hand_on(old, new)
    try:
        return mapped(output, lambda one: new if one is old else one)
    except InputError as error:
        raise LayerError(
            f"a layer returns a {type(output).__name__} in which its tensor cannot be watched: "
            f"{error} Or name a module inside that layer; gradcam_hooks.layers(model, x) lists "
            "those that ran."
        ) from error


def detached(output: object) -> object:
    """The same structure with every tensor out of the graph."""
    return mapped(output, Tensor.detach, strict=False)


def described(output: object) -> str:
    """The structure of an output, for an error's text."""
    return drawn(output) or _what(output)


def _what(output: object) -> str:
    if isinstance(output, Tensor):
        return f"a tensor of shape {tuple(output.shape)}, {output.dtype}"
    return f"a {type(output).__name__}"
