"""A method's own options as they were given: whether it has them, and who has, if it has not."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping

from gradcam_hooks.checks import check_flag
from gradcam_hooks.errors import OptionError
from gradcam_hooks.methods.registry import METHODS, Method
from gradcam_hooks.network.keywords import ELSEWHERE

__all__ = ["check_options"]


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


def _unknown(row: Method, name: str, common: Collection[str]) -> str:
    own = ", ".join(f"{option}=" for option in row.options) or "none of its own"
    near = difflib.get_close_matches(name, [*row.options, *common], n=1, cutoff=0.7)
    others = [other.name for other in METHODS.values() if name in other.options]
    hint = f"; did you mean {near[0]}=?" if near else "."
    if name in ELSEWHERE:
        hint = f". {ELSEWHERE[name]}"
    elif others:
        hint = f"; {_listed(others)} {'has' if len(others) == 1 else 'have'} it."
    return (
        f"{row.title} has no option {name}={hint} Its options are: {own}; and for every method "
        f"{', '.join(f'{option}=' for option in common)}."
    )


def _listed(names: list[str]) -> str:
    words = [repr(name) for name in names]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
