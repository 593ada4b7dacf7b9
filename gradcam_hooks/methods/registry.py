"""What a method is, and `method`, which makes one of a function and a row of `METHODS` of it.

A rule is a plain function ``(activation, gradient) -> raw map`` on ``(batch, channels, *space)``:
no model, no hook, no file. A procedure, ``(run) -> raw maps``, is handed a run, because it runs the
network itself. What either takes besides are the method's options, which an explainer takes by the
same names. So a method is told once, where its formula is; a user's own is made in the same way.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, TypeAlias, TypeVar

from torch import Tensor

from gradcam_hooks.errors import MethodError, MethodNotFound
from gradcam_hooks.targets import Selection

__all__ = ["METHODS", "Found", "Looks", "Method", "Procedure", "Rule", "method", "method_of"]

Rule: TypeAlias = Callable[..., Tensor]
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


Procedure: TypeAlias = Callable[..., Sequence[Tensor] | Found]
"""``(run) -> raws``: for each layer of the run a raw map ``(batch, [targets,] *space)``."""

Looks = Literal["layer", "attention", "input"]
"""Where a method looks: at the named layer; at all attention modules; at the input itself."""

_Function = TypeVar("_Function", bound=Callable[..., object])


@dataclass(frozen=True, kw_only=True, eq=False)
class Method:
    """What a published name is; what is not told is read from its function.

    Attributes:
        name: how it is asked for, as in ``method="gradcam"``; by default the function's name.
        cls: the name of its class; by default the title without spaces and hyphens.
        title: how the paper writes it; by default what the docstring has ahead of a first colon.
        paper: authors, year, arXiv number or DOI, and equation.
        formula: in words; by default the rest of the docstring's first paragraph.
        passes: what it costs, in forward (F) and backward (B) passes; K channels, P positions,
            N samples, L layers; "tails" are the layers behind the named one alone.
        needs_gradients: whether it needs the backward pass.
        class_specific: whether it tells classes apart.
        deviations: what other libraries do under this name, where it is something else.
        rule: the formula itself, where it is one of an activation and its gradient.
        procedure: what runs the network itself, for all others.
        quick: options for a first look, where its own defaults take hundreds of runs.
        looks: where it looks; ``layer=`` counts for those that look at a layer.
        fuse: how the maps of several layers become one, unless told otherwise.

    Raises:
        MethodError: there is no function, or there are two.
    """

    name: str = ""
    cls: str = ""
    title: str = ""
    paper: str = "no paper"
    formula: str = ""
    passes: str = ""
    needs_gradients: bool = True
    class_specific: bool = True
    deviations: str = ""
    rule: Rule | None = None
    procedure: Procedure | None = None
    quick: Mapping[str, object] = field(default_factory=dict)
    looks: Looks = "layer"
    fuse: str = "mean"

    def __post_init__(self) -> None:
        if (self.rule is None) == (self.procedure is None):
            raise MethodError(
                f"the method {self.name!r} needs one function, rule= or procedure=; "
                "@gradcam_hooks.method() above a function makes the row of it."
            )
        function = self.function
        name = self.name or getattr(function, "__name__", type(function).__name__).strip("<>")
        title, formula = _told(function)
        title = self.title or title or name
        of_rule = "1 F + 1 B" if self.needs_gradients else "1 F"
        read = {
            "name": name,
            "cls": self.cls or _class_name(title),
            "title": title,
            "formula": self.formula or formula,
            "passes": self.passes or (of_rule if self.rule else "as many F and B as it takes"),
        }
        for key, value in read.items():
            object.__setattr__(self, key, value)  # it is frozen from here on

    @property
    def function(self) -> Rule | Procedure:
        """The rule or the procedure."""
        function = self.rule or self.procedure
        assert function is not None  # one of them is there
        return function

    @property
    def home(self) -> str:
        """Where the function stands, as a dotted name."""
        return _home(self.function)

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """What the function takes besides the activation and gradient, or besides the run."""
        own = _parameters(self.function)[2 if self.rule else 1 :]
        return {one.name: one for one in own if one.kind in _BY_NAME}

    @property
    def options(self) -> Mapping[str, object]:
        """The method's own options and their defaults."""
        return {name: one.default for name, one in self.parameters.items()}


_BY_NAME = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

_ROWS: dict[str, Method] = {}

METHODS: Mapping[str, Method] = MappingProxyType(_ROWS)
"""Each method by its name, in the order in which they were made; later ones show here too."""


def method(
    name: str = "",
    *,
    title: str = "",
    cls: str = "",
    paper: str = "no paper",
    formula: str = "",
    cost: str = "",
    elsewhere: str = "",
    needs_gradients: bool = True,
    class_specific: bool | None = None,
    quick: Mapping[str, object] | None = None,
    looks: Looks = "layer",
    fuse: str = "mean",
) -> Callable[[_Function], _Function]:
    """Make a method of the function below: it is in `METHODS` then, and stays a plain function.

    Above a rule ``(activation, gradient) -> raw map``, from ``(batch, channels, *space)`` twice to
    ``(batch, *space)``, or a procedure ``(run) -> raw maps`` of a `gradcam_hooks.runs.run.Run`, one
    map for each of the run's layers. What else it takes, with a default, are its options::

        @gh.method(paper="Doe et al. 2026, arXiv:2601.00001")
        def abscam(activation, gradient, *, power=1.0):
            "Abs-CAM: the gradient's size times activation, summed over channels."
            return (gradient.abs() ** power * activation).sum(1)

        gh.explain(model, x, method="abscam", power=2.0)

    Args:
        name: how it is asked for; by default the function's name.
        title: how people write it; by default what the docstring has ahead of its first colon.
        cls: the name of its class; by default the title without spaces and hyphens.
        paper: authors, year, arXiv number or DOI, and equation.
        formula: in words; by default the rest of the docstring's first paragraph.
        cost: in forward (F) and backward (B) passes; by default that of a rule.
        elsewhere: what other libraries do under this name, where it is something else.
        needs_gradients: whether it looks at gradients; a rule that does not is asked without any.
        class_specific: whether it tells classes apart; by default a rule does that needs gradients.
        quick: options for a first look, where the defaults take hundreds of runs.
        looks: where it looks: at the ``"layer"``, at all ``"attention"`` or at the ``"input"``.
        fuse: how the maps of several layers become one, unless told otherwise.

    Raises:
        MethodError: the function is neither rule nor procedure, or the name is taken.
    """
    if not isinstance(name, str):
        raise MethodError("a name or nothing stands in @method(): write @gradcam_hooks.method().")

    def registered(function: _Function) -> _Function:
        kind = _kind(function)
        known = needs_gradients or kind == "procedure"
        row = Method(
            name=name,
            cls=cls,
            title=title,
            paper=paper,
            formula=formula,
            passes=cost,
            needs_gradients=needs_gradients,
            class_specific=known if class_specific is None else class_specific,
            deviations=elsewhere,
            quick=quick or {},
            looks=looks,
            fuse=fuse,
            **{kind: function},  # type: ignore[arg-type]  # which of the two its parameters tell
        )
        _check_name(row)
        _ROWS[row.name] = row
        return function

    return registered


def method_of(given: str | Method | Callable[..., object]) -> Method:
    """The method of that name, in any spelling, or of that function, in `METHODS` or not.

    Raises:
        MethodNotFound: no method bears that name; says the nearest and all there are.
        MethodError: the function is neither rule nor procedure.

    >>> method_of("layercam").title, method_of("Layer-CAM").name
    ('LayerCAM', 'layercam')
    >>> method_of(lambda activation, gradient, *, power=2: (gradient**power).sum(1)).options
    {'power': 2}
    """
    if isinstance(given, Method):
        return given
    if callable(given):
        known = (row for row in METHODS.values() if row.function is given)
        return next(known, None) or Method(**{_kind(given): given})  # type: ignore[arg-type]
    if not isinstance(given, str):
        raise MethodError(
            "method= is a name, a class of gradcam_hooks, or a function (activation, gradient) -> "
            f"map, not {given!r}."
        )
    words = {_plain(word): row for row in METHODS.values() for word in (row.title, row.cls)}
    words |= {_plain(row.name): row for row in METHODS.values()}
    meant = METHODS.get(given) or words.get(_plain(given))
    if meant is None:
        raise MethodNotFound(
            f"no method {given!r}{_nearest(given, words)} gradcam_hooks.METHODS has "
            f"{', '.join(METHODS)}. One of your own is a function (activation, gradient) -> map: "
            "pass that as method=, or put @gradcam_hooks.method() above it to give it a name."
        )
    return meant


def _nearest(given: str, known: Mapping[str, Method]) -> str:
    """The method that was meant, of those by their plain name, title or class."""
    near = difflib.get_close_matches(_plain(given), known, n=1, cutoff=0.7)
    return f"; did you mean {known[near[0]].name!r}?" if near else "."


def _plain(word: str) -> str:
    return re.sub(r"[\W_]", "", word.replace("+", "plus").casefold())


def _check_name(row: Method) -> None:
    if row.name == "all" or not re.fullmatch(r"[^\s,:]+", row.name):
        raise MethodError(
            f"a method cannot be called {row.name!r}: it is asked for by one word without spaces, "
            "commas and colons, and 'all' is every method. Pass another: @method('name')."
        )
    known = METHODS.get(row.name)
    if known is not None and known.home != row.home:  # the same one is made anew, as in notebooks
        raise MethodError(
            f"the name {row.name!r} is taken by {known.home}. Pass another: @method('name')."
        )


def _told(function: Callable[..., object]) -> tuple[str, str]:
    """Title and formula as the docstring's first paragraph has them: ``Title: formula.``."""
    own = inspect.isroutine(function) and function.__doc__  # of an object it is its class's
    first = " ".join(inspect.cleandoc(own or "").partition("\n\n")[0].split()).removesuffix(".")
    title, colon, formula = first.partition(": ")
    return (title, formula) if colon else ("", first)


def _class_name(title: str) -> str:
    words = re.findall(r"\w+|\+", title)
    made = "".join("Plus" if word == "+" else word[0].upper() + word[1:] for word in words)
    return made if made.isidentifier() else f"_{made}"


def _kind(function: Callable[..., object]) -> Literal["rule", "procedure"]:
    """Whether it takes an activation and a gradient, or a run."""
    placed = [one for one in _parameters(function) if one.kind in _BY_PLACE]
    needed = [one.name for one in placed if one.default is one.empty]
    if needed == ["run"]:
        return "procedure"
    if len(needed) <= 2 <= len(placed) and "run" not in needed:
        return "rule"
    raise MethodError(
        "a method is a function (activation, gradient) that returns a map for each image, or (run) "
        f"that returns one for each layer, and {_home(function)} takes "
        f"({', '.join(one.name for one in placed)}). Give it those arguments, whether it looks at "
        "them or not; its options follow with their defaults."
    )


def _parameters(function: Callable[..., object]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except ValueError:  # a function in C that does not tell
        names = ("activation", "gradient")
        return [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in names]


def _home(function: Callable[..., object]) -> str:
    """Where the function stands, as a dotted name."""
    kind = type(function)
    name = getattr(function, "__qualname__", kind.__qualname__)
    return f"{getattr(function, '__module__', kind.__module__)}.{name}"
