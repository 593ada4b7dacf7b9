"""A function of the user's own, by its name in a module or a file.

Knows files and imports; what the function is for, its caller knows.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.machinery
import importlib.util
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import cast

from torch import nn

from gradcam_hooks.errors import ModelError

__all__ = ["importable", "own_function"]


def own_function(name: str, wanted: str) -> Callable[..., object]:
    """The user's function, out of a module or a file.

    Args:
        name: ``"package.module:function"`` or ``"path/to/file.py:function"``.
        wanted: what is expected of it, for the message.

    Raises:
        ModelError: there is none, or importing it failed.
    """
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
        raise ModelError(f"expected {wanted}, but '{function}' in '{source}' {what}{there}")
    return cast("Callable[..., object]", make)


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
