"""A method's own options as they were given: whether it has them, and who has, if it has not."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Collection, Mapping

from torch import nn

from gradcam_hooks.checks import check_flag
from gradcam_hooks.errors import OptionError
from gradcam_hooks.methods.registry import METHODS, Method

__all__ = ["check_call", "check_options"]

_ELSEWHERE = {
    "aug_smooth": "Several versions of the image are sampler=gradcam_hooks.Augment().",
    "batch_size": "How many variants run at once follows from the memory that is free.",
    "class_idx": "The class is target=.",
    "class_names": "The classes' names are labels=.",
    "colormap": "Colours are for drawing: result.overlay(colormap=...).",
    "device": "The model's own device is used; model.to(device) moves it.",
    "input_shape": "The input's size is read off the input.",
    "input_tensor": "The input stands first, without a name.",
    "layers": "The layers are layer=, one name or a list.",
    "reshape_transform": "How tokens lie is read off the network; layout= says it otherwise.",
    "target_category": "The class is target=.",
    "target_class": "The class is target=.",
    "target_layer": "The layer is layer=.",
    "target_layers": "The layers are layer=, one name or a list.",
    "targets": "The class is target=: a number, a label, or a function of the output.",
    "use_cuda": "The model's own device is used; model.to('cuda') moves it.",
}
"""What other libraries call it, or have in another place."""


def check_options(row: Method, given: Mapping[str, object], common: Collection[str]) -> None:
    """Raise `OptionError` unless all of ``given`` are the method's own and none is missing.

    Args:
        row: the method.
        given: the options and their values.
        common: what every method takes, for the message.
    """
    parameters = row.parameters
    for name, value in given.items():
        if name not in parameters:
            raise OptionError(_unknown(row, name, common))
        if isinstance(parameters[name].default, bool):
            check_flag(value, name)
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in given:
            raise OptionError(f"{row.title} needs {name}=, which {row.home} has no default for.")


def check_call(model: nn.Module, given: Mapping[str, object]) -> None:
    """Raise `OptionError` where the model's forward takes no argument of such a name.

    Args:
        model: the network.
        given: the keyword arguments for its forward.
    """
    if not given:
        return
    parameters = inspect.signature(model.forward).parameters
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return
    for name in given:
        if name not in parameters:
            near = difflib.get_close_matches(name, [*parameters, "target"], n=1, cutoff=0.7)
            hint = (
                f"did you mean {near[0]}=?" if near else "Options go where the explainer is made."
            )
            raise OptionError(
                f"the forward of {type(model).__name__} takes ({', '.join(parameters)}), and no "
                f"{name}=. {_ELSEWHERE.get(name, hint)}"
            )


def _unknown(row: Method, name: str, common: Collection[str]) -> str:
    own = ", ".join(f"{option}=" for option in row.options) or "none of its own"
    near = difflib.get_close_matches(name, [*row.options, *common], n=1, cutoff=0.7)
    others = [other.name for other in METHODS.values() if name in other.options]
    hint = f"; did you mean {near[0]}=?" if near else "."
    if name in _ELSEWHERE:
        hint = f". {_ELSEWHERE[name]}"
    elif others:
        hint = f"; {_listed(others)} {'has' if len(others) == 1 else 'have'} it."
    return (
        f"{row.title} has no option {name}={hint} Its options are: {own}; and for every method "
        f"{', '.join(f'{option}=' for option in common)}."
    )


def _listed(names: list[str]) -> str:
    words = [repr(name) for name in names]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
