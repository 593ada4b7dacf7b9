"""Architectures: networks that are built by name, still without weights.

A name is one of torchvision's ("vgg16"), one of timm's ("timm:resnet50"), or the user's own
function ("package.module:function", "path/to/file.py:function"). torchvision and timm are imported
when they are asked for. This file knows no checkpoint.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.machinery
import importlib.util
import inspect
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from gradcam_hooks.errors import ModelError

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

__all__ = ["Architecture", "find_architecture", "importable"]

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
        except Exception as error:  # the user's code may raise anything
            raise ModelError(
                f"building '{self.name}' failed: {type(error).__name__}: {error}"
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
    source, _, function = name.rpartition(":")
    with importable(name):
        try:
            module = _load_file(source) if source.endswith(".py") else _load_module(source)
        except ModelError:
            raise
        except (Exception, SystemExit) as error:  # the user's code may raise anything
            hint = (
                "; put what is only for running it under if __name__ == '__main__'"
                if isinstance(error, SystemExit)
                else ""
            )
            raise ModelError(
                f"importing '{source}' failed: {type(error).__name__}: {error}{hint}"
            ) from error
    make = getattr(module, function, None)
    if not callable(make) or isinstance(make, nn.Module):
        names = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
        near = difflib.get_close_matches(function, names, n=3, cutoff=0.5) or names[:3]
        what = f"is a {type(make).__name__}" if make is not None else "is not there"
        there = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ModelError(
            f"expected a function that builds a model, but '{function}' in '{source}' {what}{there}"
        )
    return Architecture(name, cast("Callable[..., object]", make), "own", _takes_classes(make))


def _takes_classes(make: Callable[..., object]) -> bool:
    try:
        parameters = inspect.signature(make).parameters.values()
    except ValueError:  # some callables written in C have no signature
        return False
    return any(p.name == "num_classes" or p.kind is p.VAR_KEYWORD for p in parameters)


def _load_module(source: str) -> ModuleType:
    try:
        return importlib.import_module(source)
    except ModuleNotFoundError as error:
        if error.name is None or not (source + ".").startswith(error.name + "."):
            raise  # the module is there, and something that it imports is not
        raise ModelError(
            f"no module '{error.name}' here; 'package.module:function' is looked up as Python's "
            "import does, from the current folder too; a file is named path/to/file.py:function"
        ) from error


def _load_file(source: str) -> ModuleType:
    path = Path(source).expanduser().resolve()
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.py")], 1)
        raise ModelError(f"no file '{source}'" + (f"; did you mean '{near[0]}'?" if near else ""))
    # A name of its own, so that no installed module is hidden by it.
    private = f"_gradcam_hooks_{zlib.crc32(str(path).encode()):08x}_{path.stem}"
    spec = importlib.util.spec_from_file_location(private, path)
    if spec is None or spec.loader is None:
        raise ModelError(f"'{source}' cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[private] = module  # dataclasses and pickle look it up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[private]
        raise
    return module


@contextmanager
def importable(name: str) -> Iterator[None]:
    """While open, the user's own file can import its neighbours, or a module the current folder.

    Neighbours of a file are forgotten after it: the `utils` of one file is not the `utils` of the
    next. For names of other kinds this does nothing.
    """
    source = name.rpartition(":")[0]
    if not source or name.startswith(("timm:", "timm/")):
        yield
        return
    is_file = source.endswith(".py")
    folder = Path(source).expanduser().resolve().parent if is_file else Path.cwd()
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        if str(folder) in sys.path:
            sys.path.remove(str(folder))
        new = set(sys.modules) - before if is_file else set()
        for top in {key.partition(".")[0] for key in new}:
            if _lies_in(folder, top):
                for key in new:
                    if key.partition(".")[0] == top:
                        del sys.modules[key]


def _lies_in(folder: Path, top: str) -> bool:
    """Whether a top-level module is a file or a package straight in the folder."""
    spec: importlib.machinery.ModuleSpec | None = getattr(sys.modules.get(top), "__spec__", None)
    if spec is None:
        return False
    places = [*(spec.submodule_search_locations or []), spec.origin or ""]
    return any(Path(place) in (folder / f"{top}.py", folder / top) for place in places)
