"""The methods: pure formulas, and the table `METHODS` that tells what each published name is.

A rule is a plain function ``(activation, gradient) -> raw map`` on ``(batch, channels, *space)``:
no model, no hook, no file. A new method is one function and one row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor

from gradcam_hooks.methods.gradient import gradcam

__all__ = ["METHODS", "Method", "Rule"]

Rule = Callable[[Tensor, Tensor], Tensor]
"""``(activation, gradient) -> raw``: ``(batch, channels, *space)`` twice to ``(batch, *space)``."""


@dataclass(frozen=True)
class Method:
    """What a published name is.

    Attributes:
        name: how it is asked for, as in ``method="gradcam"``.
        cls: the name of its class in ``gradcam_hooks``.
        title: how the paper writes it.
        paper: authors, year, arXiv number and equation.
        formula: in words.
        passes: what it costs, in forward (F) and backward (B) passes.
        needs_gradients: whether it needs the backward pass.
        rule: the formula itself.
    """

    name: str
    cls: str
    title: str
    paper: str
    formula: str
    passes: str
    needs_gradients: bool
    rule: Rule


_ROWS = (
    Method(
        name="gradcam",
        cls="GradCAM",
        title="Grad-CAM",
        paper="Selvaraju et al. 2017, arXiv:1610.02391, equations 1 and 2",
        formula="channels weighted by the mean of their gradient over space, summed",
        passes="1 F + 1 B",
        needs_gradients=True,
        rule=gradcam,
    ),
)

METHODS: Mapping[str, Method] = MappingProxyType({row.name: row for row in _ROWS})
"""Each method by its name."""
