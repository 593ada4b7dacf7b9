"""Find a module of a model: by dotted name, by glob, or by being handed the module itself.

Knows `torch.nn.Module` and nothing else of the library: no hook, no tensor. What it answers is
always a list of dotted names in the order the user named them, so that everything after it
speaks of layers by name alone.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import nn

from gradcam_hooks.errors import LayerNotFound

__all__ = ["LayerSpec", "describe", "every", "find", "hookable", "named", "unwrap"]

LayerSpec = str | nn.Module | Sequence[str | nn.Module]
"""How a layer is named: dotted name, glob, the module itself, or a list of these."""

_HOW_TO_LIST = "gradcam_hooks.layers(model, x) lists those that ran."


def named(model: nn.Module) -> dict[str, nn.Module]:
    """Every module by its dotted name, a shared module under each of its names."""
    return dict(model.named_modules(remove_duplicate=False))


def every(model: nn.Module) -> list[nn.Module]:
    """The model and all modules in it, each once; what ``model.modules()`` gives, in no order.

    It is asked for at every call, of networks with hundreds of modules: without generators in
    generators it takes a fifth of the time.
    """
    found = {id(model): model}
    todo = [model]
    while todo:
        for part in todo.pop()._modules.values():
            if part is not None and id(part) not in found:
                found[id(part)] = part
                todo.append(part)
    return [*found.values()]


def hookable(model: nn.Module) -> dict[str, nn.Module]:
    """Every module that takes hooks, each once: all but scripted and traced ones."""
    return {
        name: module
        for name, module in model.named_modules()
        if not isinstance(module, torch.jit.ScriptModule)
    }


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside its wrappers: DataParallel, DistributedDataParallel, ``torch.compile``."""
    parallel = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while True:
        inner = model.module if isinstance(model, parallel) else getattr(model, "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def describe(name: str) -> str:
    """The name as a message shows it; the model itself has the empty name."""
    return repr(name) if name else "the model itself"


def find(model: nn.Module, layer: LayerSpec) -> list[str]:
    """The dotted names that ``layer`` means, in the order named, each once.

    A glob matches part by part between the dots (``layer[34]``, ``features.*``); ``**`` stands
    for any number of parts.

    Raises:
        LayerNotFound: no module bears the name, no name matches the glob, or the module handed
            over is no part of this model.

    >>> from torch import nn
    >>> find(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), "[01]")
    ['0', '1']
    """
    modules = named(model)
    given: object = layer
    alone = isinstance(given, str | nn.Module | torch.Tensor) or not isinstance(given, Iterable)
    specs: list[object] = [given] if alone else list(layer)  # type: ignore[arg-type]  # iterable
    if not specs:
        raise LayerNotFound(f"an empty list names no layer. {_HOW_TO_LIST}")
    found: dict[int, str] = {}
    for spec in specs:
        for name in _matches(model, modules, spec):
            found.setdefault(id(modules[name]), name)
    return list(found.values())


def _matches(model: nn.Module, modules: Mapping[str, nn.Module], spec: object) -> list[str]:
    kind = type(model).__name__
    if isinstance(spec, nn.Module):
        for name, module in modules.items():
            if module is spec:
                return [name]
        raise LayerNotFound(
            f"the {type(spec).__name__} that was handed over is no part of this {kind}. "
            f"Take it from the model itself, as in model.layer4. {_HOW_TO_LIST}"
        )
    if not isinstance(spec, str):
        raise LayerNotFound(_no_layer(spec))
    if spec in modules:
        return [spec]
    if any(mark in spec for mark in "*?["):
        pattern = spec.split(".")
        matches = [name for name in modules if name and _glob(pattern, name.split("."))]
        if matches:
            return matches
        raise LayerNotFound(f"no layer of {kind} matches {spec!r}. {_HOW_TO_LIST}")
    name, mark, call = spec.rpartition("#")
    if mark and name in modules:  # as results write it
        raise LayerNotFound(f"{spec!r} is a call of {name!r}: pass layer={name!r}, call={call}.")
    raise LayerNotFound(f"no layer {spec!r} in {kind}{_nearest(spec, modules)} {_HOW_TO_LIST}")


def _no_layer(given: object) -> str:
    told = f"a layer is a dotted name, a glob or a module, not {type(given).__name__}"
    if isinstance(given, torch.Tensor):
        return (
            f"{told} {tuple(given.shape)}. A network's second input is handed over in a block: "
            "with GradCAM(model) as cam: cam(image, second)."
        )
    return f"{told}: {given!r}. {_HOW_TO_LIST}"


def _glob(pattern: Sequence[str], parts: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_glob(pattern[1:], parts[skip:]) for skip in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _glob(pattern[1:], parts[1:])


def _nearest(wanted: str, modules: Mapping[str, nn.Module]) -> str:
    names = [name for name in modules if name]
    # A layer of a wrapped network is looked for without its prefix, or with one too many.
    inside = [n for n in names if n.endswith("." + wanted) or (wanted.endswith("." + n))]
    near = inside[:3] or difflib.get_close_matches(wanted, names, n=3, cutoff=0.5)
    if not near:
        tops = [name for name in names if "." not in name]
        return f"; at the top it has {', '.join(tops[:12])}." if tops else "; it has no layers."
    return f"; did you mean {' or '.join(map(repr, near))}?"
