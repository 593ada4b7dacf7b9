"""The ways to explain that are compared: methods at layers, and the baselines beside them.

What a user names, methods and layers, is made rows of a table here. Knows methods, layers and
explainers; no metric, and nothing is explained yet.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from torch import Tensor, nn

from gradcam_hooks.errors import InputError, MethodNotFound, OptionError
from gradcam_hooks.evaluating.controls import BASELINES
from gradcam_hooks.explainers import Explainer, explainer_class
from gradcam_hooks.layout.table import LayerTable, layers
from gradcam_hooks.methods import METHODS, Method, method_of
from gradcam_hooks.models import LoadedModel
from gradcam_hooks.network.modules import LayerSpec, find

__all__ = ["USUAL", "Kind", "MethodsSpec", "Way", "families", "layers_of", "methods_of", "ways_of"]

USUAL = ("hirescam", "gradcam", "layercam", "gradcam++", "eigencam")
"""The methods where none is named: each is one pass forward and one back at most."""

Kind: TypeAlias = Literal["method", "baseline", "control"]

MethodsSpec: TypeAlias = "str | Callable[..., object] | Method | Iterable[object] | None"
"""Methods: names, families, classes, functions of one's own, or several of these."""

_LAYERS = 2
"""Layers where none is named: the one that "auto" takes, and one of a finer resolution."""


@dataclass(frozen=True, eq=False)
class Way:
    """A row of the table.

    Attributes:
        key: what tells it from the others, such as ``"hirescam@layer4"``.
        method: the method; of a control, whose map is blurred.
        layer: the layer's dotted name, with "#" and the number of a call of one that runs several
            times, as results write it; empty where the method looks at no layer.
        kind: a method, a baseline, or a control: a method's own map under a blur.
        of: the key of the row whose map a control blurs.
        options: the method's own, where its defaults take hundreds of passes.
    """

    key: str
    method: Method
    layer: str
    kind: Kind = "method"
    of: str = ""
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """In words, such as ``"HiResCAM at layer4"``."""
        where = f" at {self.layer}" if self.layer and self.kind != "baseline" else ""
        return f"{self.method.title}{where}{', blurred' if self.kind == 'control' else ''}"

    @property
    def control(self) -> Way:
        """The same way, its map under a blur."""
        key = f"{self.key}:blurred"
        return Way(key, self.method, self.layer, "control", self.key, self.options)

    def explainer(self, model: nn.Module | LoadedModel, **options: object) -> Explainer:
        """What explains this way."""
        make: Callable[..., Explainer] = explainer_class(self.method)
        return make(model, **self.where, **options, **self.options)

    @property
    def where(self) -> dict[str, object]:
        """The layer and its call, as explainers take them."""
        name, mark, call = self.layer.rpartition("#")
        if mark and call.isdecimal():
            return {"layer": name, "call": int(call)}
        return {"layer": self.layer or "auto"}


def families() -> dict[str, tuple[str, ...]]:
    """The methods of each family, which is the file that they stand in, such as ``"gradient"``.

    >>> "hirescam" in families()["gradient"]
    True
    """
    found: dict[str, list[str]] = {}
    for row in METHODS.values():
        if row.name not in BASELINES and row.home.startswith("gradcam_hooks.methods."):
            found.setdefault(row.home.split(".")[2], []).append(row.name)
    return {name: tuple(rows) for name, rows in found.items()}


def methods_of(given: MethodsSpec) -> list[Method]:
    """The methods that are meant, each once, without the baselines, which are there anyway.

    Args:
        given: a name, a family (see `families`), a class, a function ``(activation, gradient) ->
            map``, several of these, or ``"all"``; None for the usual ones.

    Raises:
        MethodNotFound: none bears the name, nor any family.
        OptionError: nothing is left.

    >>> [row.name for row in methods_of(["Grad-CAM", "guided"])]
    ['gradcam', 'guidedbackprop', 'guidedgradcam']
    """
    if given is None:
        several: list[object] = list(USUAL)
    elif isinstance(given, Iterable) and not isinstance(given, str | type):
        several = list(given)
    else:
        several = [given]
    rows: dict[int, Method] = {}
    for one in several:
        for row in _meant(one):
            rows.setdefault(id(row), row)
    found = [row for row in rows.values() if row.name not in BASELINES]
    if not found:
        raise OptionError(
            "methods= names no method but baselines, which every table carries anyway. Name one, "
            "such as 'hirescam', or a family: " + ", ".join(families()) + "."
        )
    return found


def _meant(one: object) -> list[Method]:
    if isinstance(one, str) and one == "all":
        return [METHODS[name] for names in families().values() for name in names]
    if isinstance(one, str) and one not in METHODS and one in families():
        return [METHODS[name] for name in families()[one]]
    if isinstance(one, type) and issubclass(one, Explainer):
        return [one.row()]
    try:
        return [method_of(one)]  # type: ignore[arg-type]  # it says what it takes
    except MethodNotFound as error:
        raise MethodNotFound(f"{error} Families of methods are {', '.join(families())}.") from None


def layers_of(model: nn.Module, image: Tensor, given: LayerSpec | None) -> list[str]:
    """The dotted names of the layers that are compared.

    Args:
        model: any module.
        image: an input, ``(1, channels, *space)``.
        given: names, globs or modules, or a call of a layer, ``"relu#1"``; None for the layer that
            "auto" takes, and the last one of the next finer resolution.

    Raises:
        LayerNotFound: nothing is called so.
        InputError: nothing was named, and no layer is fit.
    """
    if given is None or (isinstance(given, str) and given == "auto"):
        return _chosen(layers(model, image))
    specs = [given] if isinstance(given, str | nn.Module) else list(given)
    names: dict[str, None] = {}
    for spec in specs:
        if isinstance(spec, str) and spec == "auto":
            names |= dict.fromkeys(_chosen(layers(model, image))[:1])
        elif isinstance(spec, str) and re.fullmatch(r".+#\d+", spec):
            names[f"{find(model, spec.rpartition('#')[0])[0]}#{spec.rpartition('#')[2]}"] = None
        else:
            names |= dict.fromkeys(find(model, spec))
    return list(names)


def _chosen(table: LayerTable) -> list[str]:
    """The recommended layer, and ahead of it the last one that is finer."""
    best = table.recommended
    if best is None:
        raise InputError(
            f"no layer of {table.model} is fit to be explained by itself; name some, layers=. "
            "gradcam_hooks.layers(model, x) lists those that ran."
        )
    rows = list(table)
    at = next(place for place, row in enumerate(rows) if row.name == best)
    again = rows[at].calls - 1  # "auto" takes the last call
    found = [f"{best}#{again}" if again else best]
    cells = _cells(rows[at].shape, rows[at].channels)
    for row in reversed(rows[:at]):
        if len(found) == _LAYERS:
            break
        own = _cells(row.shape, row.channels)
        if row.spatial and row.gradient and row.calls == 1 and row.channels and own > cells:
            found.append(row.name)
            cells = own
    return found


def _cells(shape: Sequence[int] | str, channels: int | None) -> int:
    """How many positions a layer's output has."""
    total = 1
    for size in () if isinstance(shape, str) else shape[1:]:
        total *= size
    return total // max(1, channels or 1)


def ways_of(methods: Sequence[Method], layers: Sequence[str]) -> list[Way]:
    """Every method at every layer, the last named layer first read; and the baselines, once each.

    A method that looks at the input or at all attention is one row, whatever the layers.
    """
    found: list[Way] = []
    names: dict[str, int] = {}
    for row in methods:
        count = names[row.name] = names.get(row.name, 0) + 1
        name = row.name if count == 1 else f"{row.name}-{count}"  # two functions of one name
        for layer in layers if row.looks == "layer" else ("",):
            key = f"{name}@{layer}" if layer else name
            found.append(Way(key, row, layer, options=row.quick))
    baselines = [Way(name, METHODS[name], layers[0], "baseline") for name in BASELINES]
    return [*found, *baselines]
