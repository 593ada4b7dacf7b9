"""What a method is: a row of `METHODS`.

A rule is a plain function ``(activation, gradient) -> raw map`` on ``(batch, channels, *space)``:
no model, no hook, no file. A procedure is handed a run, because it runs the network itself.
Keyword-only arguments of either are the method's options, which an explainer takes by the same
names. A new method is one function and one row in the same file.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from gradcam_hooks.targets import Selection

__all__ = ["Found", "Looks", "Method", "Procedure", "Rule"]

Rule = Callable[..., Tensor]
"""``(activation, gradient) -> raw``: ``(batch, channels, *space)`` twice to ``(batch, *space)``."""


@dataclass(frozen=True)
class Found:
    """Maps of something else than the targets that were asked for, with scores of its own.

    Attributes:
        raws: for each layer ``(batch, things, *space)``.
        selected: the scores of those things, ``(batch, things)``, and their classes.
    """

    raws: Sequence[Tensor]
    selected: Selection


Procedure = Callable[..., Sequence[Tensor] | Found]
"""``(run) -> raws``: for each layer of the run a raw map ``(batch, [targets,] *space)``."""

Looks = Literal["layer", "attention", "input"]
"""Where a method looks: at the named layer; at all attention modules; at the input itself."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """What a published name is.

    Attributes:
        name: how it is asked for, as in ``method="gradcam"``.
        cls: the name of its class in ``gradcam_hooks``.
        title: how the paper writes it.
        paper: authors, year, arXiv number or DOI, and equation.
        formula: in words.
        passes: what it costs, in forward (F) and backward (B) passes; K channels, P positions,
            N samples, L layers; "tails" are the layers behind the named one alone.
        needs_gradients: whether it needs the backward pass.
        class_specific: whether it tells classes apart.
        deviations: what other libraries do under this name, where it is something else.
        rule: the formula itself, where it is one of an activation and its gradient.
        procedure: what runs the network itself, for all others.
        quick: options for a first look, where its own defaults take hundreds of runs.
        looks: where it looks; ``layer=`` counts for those that look at a layer.
    """

    name: str
    cls: str
    title: str
    paper: str
    formula: str
    passes: str
    needs_gradients: bool = True
    class_specific: bool = True
    deviations: str = ""
    rule: Rule | None = None
    procedure: Procedure | None = None
    quick: Mapping[str, object] = field(default_factory=dict)
    looks: Looks = "layer"

    @property
    def options(self) -> Mapping[str, object]:
        """The method's own options and their defaults."""
        function = self.rule or self.procedure
        if function is None:
            return {}
        parameters = inspect.signature(function).parameters.values()
        return {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY}
