"""A method's class, and its explainer: of a name, of a class, or of a function of the user's.

A class is made of its method: the function's text is its text, and its signature is `Explainer`'s
with the function's own options behind.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import TypeAlias

from torch import nn

from gradcam_hooks.errors import InputError, MethodError, OptionError
from gradcam_hooks.explainers.explainer import Explainer
from gradcam_hooks.methods import METHODS, Method, method_of
from gradcam_hooks.models import LoadedModel
from gradcam_hooks.network.modules import LayerSpec
from gradcam_hooks.results.explanation import Explanation
from gradcam_hooks.targets import Target

__all__ = ["MethodSpec", "explain", "explainer", "explainer_class"]

MethodSpec: TypeAlias = str | Method | Callable[..., object]
"""A method: its name, its class, or a function ``(activation, gradient) -> map``."""


def explain(
    model: nn.Module | LoadedModel,
    image: object = None,
    /,
    layer: LayerSpec = "auto",
    *,
    target: Target = None,
    method: MethodSpec = "gradcam",
    **options: object,
) -> Explanation:
    """Explain a model's answer in one line: an explainer opened for one call.

    Args:
        model: any module, or what `load_model` gave; it is left exactly as found.
        image: a tensor ``(batch, channels, *space)``, ready for the model; or a path, bytes, an
            opened file, a PIL image, an RGB array or a list of these, which are preprocessed.
            Inputs by name, as of a processor of transformers', are given among the options:
            ``explain(model, **inputs)``.
        layer: a dotted name, a glob, a module, a list of these, or ``"auto"``.
        target: what to explain; see `Explainer.__call__`.
        method: a name in `METHODS`, a class such as `GradCAM`, or a function
            ``(activation, gradient) -> map``, from ``(batch, channels, *space)`` twice to
            ``(batch, *space)``.
        options: `Explainer`'s, and the method's own.

    >>> import torch
    >>> model = torch.nn.Sequential(
    ...     torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    ... )
    >>> explain(model, torch.rand(2, 3, 32, 32)).maps.shape
    torch.Size([2, 32, 32])
    >>> mine = explain(model, torch.rand(2, 3, 32, 32), method=lambda a, g: (a * g.abs()).sum(1))
    >>> mine.method, mine.maps.shape
    ('lambda', torch.Size([2, 32, 32]))
    """
    inputs = _inputs_among(options, model, method) if image is None else {}
    if image is None and not inputs:
        raise InputError(
            "no image is given. It is the second argument, explain(model, image); where a network "
            "takes its inputs by name, as transformers' do, it is explain(model, **inputs)."
        )
    try:
        made = explainer(method, model, layer, **options)
    except OptionError as error:
        raise OptionError(f"{error}{_further(model, options)}") from None
    return made(**inputs, target=target) if inputs else made(image, target=target)


def _inputs_among(
    options: dict[str, object], model: nn.Module | LoadedModel, method: MethodSpec
) -> dict[str, object]:
    """Those that the network's forward takes and the explainer does not, taken out of the options.

    So a processor's inputs can be handed over by name, with the options.
    """
    ours = inspect.signature(explainer_class(method)).parameters
    theirs = _of_forward(model) - ours.keys()
    return {name: options.pop(name) for name in [*options] if name in theirs}


def _of_forward(model: object) -> set[str]:
    """The names of what the network's forward takes."""
    network = model.model if isinstance(model, LoadedModel) else model
    return (
        {*inspect.signature(network.forward).parameters}
        if isinstance(network, nn.Module)
        else set()
    )


def _further(model: object, options: Iterable[str]) -> str:
    """What is to be said where options are inputs of the network."""
    taken = _of_forward(model)
    inputs = ", ".join(f"{name}=..." for name in options if name in taken)
    if not inputs:
        return ""
    network = model.model if isinstance(model, LoadedModel) else model
    return (
        f" The forward of {type(network).__name__} takes it: further inputs are handed over in a "
        f"block, with GradCAM(model, layer) as cam: cam(image, {inputs})."
    )


def explainer(
    method: MethodSpec, model: nn.Module | LoadedModel, layer: LayerSpec = "auto", **options: object
) -> Explainer:
    """The explainer of a method; the options are `Explainer`'s and the method's own.

    Args:
        method: a name in `METHODS`, a class, or a function ``(activation, gradient) -> map``.
        model: any module; it is left exactly as found.
        layer: a dotted name, a glob, a module, a list of these, or ``"auto"``.
        options: by keyword.

    Raises:
        MethodNotFound: no method of that name.
        MethodError: the function is no method.
        OptionError: the method has no such option.
    """
    make: Callable[..., Explainer] = explainer_class(method)
    return make(model, layer, **options)


_CLASSES: dict[str, type[Explainer]] = {}
"""Those made of the methods in the table, so that there is one for each."""


def explainer_class(method: MethodSpec) -> type[Explainer]:
    """The class of a method: an `Explainer` with the method's text and options.

    Args:
        method: a name in `METHODS`, a function, or a class, which is returned as it is.

    Raises:
        MethodNotFound: no method of that name.
        MethodError: the function is no method, or one of its options has the name of another.

    >>> def smallest(activation, gradient, *, power=1):
    ...     return (activation**power * gradient).amin(1)
    >>> print(list(inspect.signature(explainer_class(smallest)).parameters)[-1])
    power
    """
    if isinstance(method, type) and issubclass(method, Explainer):
        return method
    row = method_of(method)
    known = _CLASSES.get(row.name)
    if known is not None and known._row is row:
        return known
    made = type(
        row.cls,
        (Explainer,),
        {
            "__doc__": _text(row),
            "__module__": __name__,
            "__init__": _init(row),
            "method": row.name,
            "_row": row,
        },
    )
    if METHODS.get(row.name) is row:
        _CLASSES[row.name] = made
    return made


def _init(row: Method) -> Callable[..., None]:
    """`Explainer.__init__` under the method's own signature."""

    def init(
        self: Explainer,
        model: nn.Module | LoadedModel,
        layer: LayerSpec = "auto",
        **options: object,
    ) -> None:
        start: Callable[..., None] = Explainer.__init__
        start(self, model, layer, **options)

    common = inspect.signature(Explainer.__init__)
    taken = [
        name for name in row.parameters if name in {*common.parameters, "image", "target", "method"}
    ]
    if taken:
        raise MethodError(
            f"{row.home} has an option {taken[0]}=, which every explainer has for something else. "
            "Give it another name."
        )
    shared = [one for one in common.parameters.values() if one.kind is not one.VAR_KEYWORD]
    own = [one.replace(kind=one.KEYWORD_ONLY) for one in row.parameters.values()]
    shared = [one.replace(default=row.fuse) if one.name == "fuse" else one for one in shared]
    init.__signature__ = common.replace(parameters=[*shared, *own])  # type: ignore[attr-defined]
    init.__name__, init.__qualname__ = "__init__", f"{row.cls}.__init__"
    return init


def _text(row: Method) -> str:
    """What help() tells of a class: the function's own text, without its examples."""
    text = (inspect.getdoc(row.function) or f"{row.title}.").partition("\n>>> ")[0].rstrip()
    return (
        f"{text}\n\nThis is the class of the method {row.name!r}, whose function is\n"
        f"`{row.home}`. What every method takes, `Explainer` tells."
    )
