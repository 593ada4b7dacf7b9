"""Architectures: networks that are built by name, still without weights.

A name is one of torchvision's ("vgg16"), one of timm's ("timm:resnet50"), or the user's own
function ("package.module:function", "path/to/file.py:function"). torchvision and timm are imported
when they are asked for. This file knows no checkpoint.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn

from gradcam_hooks.errors import ModelError
from gradcam_hooks.models.own import own_function

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

__all__ = ["Architecture", "find_architecture"]

_OWN = "for a model of your own give the function that builds it, --model path/to/file.py:function"


@dataclass(frozen=True)
class Architecture:
    """A network that can be built.

    Attributes:
        name: as it was asked for.
        make: builds it, without weights.
        kind: whose it is.
        takes_classes: whether `make` takes `num_classes`.
        pretrain: builds it with weights that its library downloads; takes the weights' enum.
        published: the weights that torchvision has for it.
    """

    name: str
    make: Callable[..., object]
    kind: str
    takes_classes: bool
    pretrain: Callable[..., nn.Module] | None = None
    published: Mapping[str, WeightsEnum] | None = None

    def build(self, num_classes: int | None = None, **options: object) -> nn.Module:
        """The network with random weights; told the number of classes where it takes that.

        Raises:
            ModelError: building it failed, or it is no network.
        """
        if num_classes is not None and self.takes_classes:
            options["num_classes"] = num_classes
        try:
            model = self.make(**options)
        except (Exception, SystemExit) as error:  # the user's code may raise anything
            wants = "required positional argument" in str(error)
            hint = "; --model-args NAME=VALUE, in Python model_args=, gives it" if wants else ""
            raise ModelError(
                f"building '{self.name}' failed: {type(error).__name__}: {error}{hint}"
            ) from error
        if not isinstance(model, nn.Module):
            raise ModelError(
                f"'{self.name}' returned a {type(model).__name__}, expected a torch.nn.Module; "
                "does the function end with 'return model'?"
            )
        return model


def find_architecture(name: str) -> Architecture:
    """The architecture of a name.

    Raises:
        ModelError: there is none, or what it needs cannot be imported.
    """
    if name.startswith(("timm:", "timm/")):
        return _timm(name)
    if ":" in name:
        return _own(name)
    if name.endswith(".py"):
        raise ModelError(f"'{name}' is a file; say which function in it, '{name}:function'")
    return _torchvision(name)


def _torchvision(name: str) -> Architecture:
    try:
        from torchvision import models
    except (ImportError, RuntimeError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"torchvision cannot be imported beside torch {torch.__version__} ({reason}); install "
            "the matching pair together, from one index: pip install torch torchvision"
        ) from error
    key = name.lower()
    names: list[str] = models.list_models()
    if key not in names:
        near = difflib.get_close_matches(key, names, n=3, cutoff=0.5)
        meant = f"; did you mean {' or '.join(near)}?" if near else ";"
        raise ModelError(
            f"no architecture '{name}' in torchvision{meant} "
            f"torchvision.models.list_models() lists them all; {_OWN}"
        )
    builder = models.get_model_builder(key)
    options: dict[str, object] = {}
    if "weights_backbone" in inspect.signature(builder).parameters:
        options["weights_backbone"] = None
    # The auxiliary heads serve training alone; without init_weights=False, building them warns.
    bare = {"aux_logits": False, "init_weights": False} if _has_aux(key) else {}
    return Architecture(
        name,
        partial(builder, weights=None, **bare, **options),
        "torchvision",
        takes_classes=not key.startswith("raft"),
        pretrain=partial(builder, **options),
        published=models.get_model_weights(key).__members__,
    )


def _has_aux(key: str) -> bool:
    return "googlenet" in key or "inception" in key


def _timm(name: str) -> Architecture:
    try:
        import timm
    except ImportError as error:
        raise ModelError(
            f"'{name}' needs timm, which cannot be imported ({error}): pip install timm"
        ) from error
    key = name[len("timm:") :]
    if not timm.is_model(key):
        near = difflib.get_close_matches(key.partition(".")[0], timm.list_models(), n=3, cutoff=0.5)
        meant = f"; did you mean {' or '.join(near)}?" if near else ";"
        raise ModelError(f"no architecture '{key}' in timm{meant} timm.list_models() lists them")
    make = partial(timm.create_model, key)
    return Architecture(
        name, make, "timm", takes_classes=True, pretrain=partial(make, pretrained=True)
    )


def _own(name: str) -> Architecture:
    """The user's function, out of a module or a file."""
    make = own_function(name, "a function that builds a model")
    return Architecture(name, make, "own", _takes_classes(make))


def _takes_classes(make: Callable[..., object]) -> bool:
    try:
        parameters = inspect.signature(make).parameters.values()
    except ValueError:  # some callables written in C have no signature
        return False
    return any(p.name == "num_classes" or p.kind is p.VAR_KEYWORD for p in parameters)
