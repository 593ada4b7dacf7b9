"""What a metric is, and `metric`, which makes a row of `METRICS` of a function.

The function takes a score or maps, never an explainer, and its settings by keyword; it tells a
number for each sample. Above it stands the metric's card: what it claims, what it assumes, how it
is gamed, and what it does not see. Knows results of metrics; no network.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ParamSpec

import torch
from torch import Tensor

from gradcam_hooks.errors import OptionError
from gradcam_hooks.metrics.measured import Found, Measured
from gradcam_hooks.network.modes import inferring

__all__ = ["METRICS", "Metric", "metric", "metric_of"]

_Given = ParamSpec("_Given")


@dataclass(frozen=True, kw_only=True, eq=False)
class Metric:
    """A metric and its card.

    Attributes:
        name: how it is asked for; the function's name.
        title: how the paper writes it.
        function: what measures: a `Measured` of a score or maps.
        formula: the docstring's first paragraph, behind a colon.
        paper: authors, year, arXiv number or DOI.
        higher_is_better: the direction in which maps are better.
        claims: what a good value is said to show.
        assumes: what must hold for that.
        gamed: how a map gets a good value without explaining anything.
        blind: why it does not prefer the right map on a planted truth; empty where it does.
        restless: why it moves under noise on the map that changes nothing; empty where it stays.
        elsewhere: what other libraries do under this name, where it is something else.
        quick: settings for a first look, where the paper's take hundreds of passes.
        pooled: for metrics of a whole set of samples: their values of all curves.
    """

    name: str
    title: str
    function: Callable[..., Measured]
    formula: str
    paper: str
    higher_is_better: bool
    claims: str
    assumes: str
    gamed: str
    blind: str = ""
    restless: str = ""
    elsewhere: str = ""
    quick: Mapping[str, object] = field(default_factory=dict)
    pooled: Callable[[Mapping[str, Tensor]], Tensor] | None = None

    @property
    def takes(self) -> tuple[str, ...]:
        """What it is given by place, such as ``("score", "images", "maps")``."""
        return tuple(one.name for one in self._parameters() if one.kind is not one.KEYWORD_ONLY)

    @property
    def settings(self) -> Mapping[str, object]:
        """Its settings and their defaults."""
        own = (one for one in self._parameters() if one.kind is one.KEYWORD_ONLY)
        return {one.name: one.default for one in own}

    def _parameters(self) -> list[inspect.Parameter]:
        return list(inspect.signature(self.function).parameters.values())


_ROWS: dict[str, Metric] = {}

METRICS: Mapping[str, Metric] = MappingProxyType(_ROWS)
"""Each metric by its name, in the order in which they were made."""


def metric(
    *,
    title: str,
    paper: str,
    higher_is_better: bool,
    claims: str,
    assumes: str,
    gamed: str,
    blind: str = "",
    restless: str = "",
    elsewhere: str = "",
    quick: Mapping[str, object] | None = None,
    pooled: Callable[[Mapping[str, Tensor]], Tensor] | None = None,
    gradients: bool = False,
) -> Callable[[Callable[_Given, Found]], Callable[_Given, Measured]]:
    """Make a metric of the function below: it is in `METRICS` then, and returns a `Measured`.

    The function returns `Found`, and runs under ``torch.inference_mode`` unless ``gradients`` says
    that what it is given needs them. The other arguments are the card's; see `Metric`.

    Raises:
        OptionError: the name is taken.
    """

    def registered(function: Callable[_Given, Found]) -> Callable[_Given, Measured]:
        name = getattr(function, "__name__", "")
        home = (function.__module__, function.__qualname__)
        known = _ROWS.get(name)
        if known is not None and home != (known.function.__module__, known.function.__qualname__):
            raise OptionError(
                f"the name {name!r} is taken by {known.function.__module__}.{name}. Call it "
                "something else."
            )

        @functools.wraps(function)
        def measure(*args: _Given.args, **kwargs: _Given.kwargs) -> Measured:
            found = inferring(lambda: function(*args, **kwargs), inference=not gradients)
            better = higher_is_better if found.higher_is_better is None else found.higher_is_better
            curves = {key: _kept(curve) for key, curve in found.curves.items()}
            at = None if found.at is None else _kept(found.at)
            return Measured(name, _kept(found.values), better, curves, at)

        # Whoever asks for its signature is told what it returns, not what the function does.
        own = inspect.signature(function)
        measure.__signature__ = own.replace(return_annotation="Measured")  # type: ignore[attr-defined]
        _ROWS[name] = Metric(
            name=name,
            title=title,
            function=measure,
            formula=_formula(function),
            paper=paper,
            higher_is_better=higher_is_better,
            claims=claims,
            assumes=assumes,
            gamed=gamed,
            blind=blind,
            restless=restless,
            elsewhere=elsewhere,
            quick=quick or {},
            pooled=pooled,
        )
        return measure

    return registered


def metric_of(given: str | Metric | Callable[..., object]) -> Metric:
    """The metric of that name, in any spelling, or of that function.

    Raises:
        OptionError: there is none; says the nearest and all there are.

    >>> metric_of("Average Drop").name
    'average_drop'
    """
    if isinstance(given, Metric):
        return given
    if callable(given):
        found = next((row for row in METRICS.values() if row.function is given), None)
        if found is not None:
            return found
        raise OptionError(
            f"{given!r} is no metric. Put @gradcam_hooks.metrics.metric(...) above it, or pass "
            f"one of {', '.join(METRICS)}."
        )
    words = {_plain(word): row for row in METRICS.values() for word in (row.title, row.name)}
    meant = words.get(_plain(str(given)))
    if meant is None:
        near = difflib.get_close_matches(_plain(str(given)), words, n=1, cutoff=0.6)
        guess = f"; did you mean {words[near[0]].name!r}?" if near else "."
        raise OptionError(
            f"no metric {given!r}{guess} gradcam_hooks.metrics.METRICS has {', '.join(METRICS)}."
        )
    return meant


def _plain(word: str) -> str:
    return re.sub(r"[\W_]", "", word.casefold())


def _formula(function: Callable[..., object]) -> str:
    first = " ".join(inspect.cleandoc(function.__doc__ or "").partition("\n\n")[0].split())
    return first.partition(": ")[2] or first


def _kept(tensor: Tensor) -> Tensor:
    """A copy that is no inference tensor, on the CPU in float64."""
    return tensor.detach().to("cpu", torch.float64, copy=True)
