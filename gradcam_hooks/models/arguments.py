"""Arguments: what a builder is called with, as the user says and as a checkpoint remembers.

Lightning keeps the arguments that a module was made with beside its weights; of these a builder of
one's own gets those that it takes. Knows signatures: no file, no module.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from gradcam_hooks.errors import ModelError
from gradcam_hooks.models.architectures import Architecture

__all__ = ["remembered", "with_arguments"]

_CONFIGURATIONS = ("hparams", "config", "cfg", "args", "conf")
"""What a builder calls the one argument in which it takes all of them."""


class _Attributes(dict[str, object]):
    """A dict whose entries are attributes too, as Lightning's are."""

    def __getattr__(self, name: str) -> object:
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(f"no hyperparameter {name!r}") from error


def with_arguments(architecture: Architecture, given: Mapping[str, object]) -> Architecture:
    """The architecture, built with these arguments.

    Raises:
        ModelError: its builder takes no argument of such a name.
    """
    if not given:
        return architecture
    parameters = _parameters(architecture)
    if parameters is not None and not any(one.kind is one.VAR_KEYWORD for one in parameters):
        names = [one.name for one in parameters]
        for name in given:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
                hint = f"; did you mean {near[0]}=?" if near else ""
                raise ModelError(
                    f"'{architecture.name}' takes no argument {name}={hint} Its arguments are: "
                    f"{', '.join(names) or 'none'}"
                )
    pretrain = architecture.pretrain
    return replace(
        architecture,
        make=partial(architecture.make, **given),
        pretrain=None if pretrain is None else partial(pretrain, **given),
    )


def remembered(architecture: Architecture, kept: Mapping[str, object]) -> dict[str, object]:
    """Those hyperparameters of a checkpoint that a builder of the user's own takes.

    By their names; all of them where it takes any; and where it takes all in one argument, called
    as people call such, as that.

    >>> def build(width, depth=2): ...
    >>> remembered(Architecture("", build, "own", False), {"width": 8, "lr": 0.1})
    {'width': 8}
    """
    parameters = _parameters(architecture) if architecture.kind == "own" else None
    if not parameters or not kept:
        return {}
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return dict(kept)
    taken = {one.name: kept[one.name] for one in parameters if one.name in kept}
    needed = [one.name for one in parameters if one.default is one.empty]
    if not taken and len(needed) == 1 and needed[0] in _CONFIGURATIONS:
        return {needed[0]: _Attributes(kept)}
    return taken


def _parameters(architecture: Architecture) -> list[inspect.Parameter] | None:
    try:
        found = inspect.signature(architecture.make).parameters.values()
    except (TypeError, ValueError):  # some callables written in C have no signature
        return None
    return [one for one in found if one.kind not in (one.VAR_POSITIONAL, one.POSITIONAL_ONLY)]
