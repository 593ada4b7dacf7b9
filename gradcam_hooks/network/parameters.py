"""Parameters that a forward writes to, kept ahead of the first write and put back.

Hardly a network does, and to copy the weights of all would double their memory. So the code that
its modules run is looked at: where that may write (a constraint on a weight, ``max_norm`` of an
embedding, a step of training inside), a mode of torch sees each operation of this thread, and a
parameter is copied ahead of the first that writes to it. What other threads write, as in training,
is theirs and stays.

Knows modules and tensors.
"""

from __future__ import annotations

import opcode
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from types import CodeType, FunctionType, MethodType, ModuleType
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from gradcam_hooks.network.blocks import lock
from gradcam_hooks.network.modes import FunctionMode

__all__ = ["Guard", "may_write", "put_back"]


@dataclass(frozen=True)
class _Was:
    """A parameter as it was: its memory, a copy of it, and what belongs to gradients."""

    parameter: Tensor
    memory: Tensor
    copy: Tensor
    requires_grad: bool
    grad: Tensor | None
    grad_copy: Tensor | None

    @classmethod
    def now(cls, parameter: Tensor) -> _Was:
        grad = parameter.grad
        return cls(
            parameter,
            parameter.data,
            parameter.detach().clone(),
            parameter.requires_grad,
            grad,
            None if grad is None else grad.detach().clone(),
        )

    def put_back(self) -> None:
        parameter = self.parameter
        self.memory.copy_(self.copy)
        parameter.data = self.memory
        parameter.requires_grad_(self.requires_grad)
        if self.grad is not None and self.grad_copy is not None:
            self.grad.data.copy_(self.grad_copy)
        parameter.grad = self.grad


_KEPT: dict[int, _Was] = {}
"""Those written to by explanations that are at work, by their ``id``."""

_LOCK = lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release
    )


def put_back(parameters: Iterable[Tensor]) -> None:
    """As they were, those of them that a `Guard` has kept."""
    if not _KEPT:
        return
    mine = {id(one) for one in parameters}
    with torch.no_grad():
        for key in mine.intersection(tuple(_KEPT)):
            _KEPT[key].put_back()
            _KEPT.pop(key, None)


class Guard(FunctionMode):
    """While open, in this thread, a parameter is kept ahead of the first write to it.

    Args:
        parameters: of the network.
    """

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        super().__init__()
        self._by_memory: dict[int, list[Tensor]] = {}
        for one in parameters:
            self._by_memory.setdefault(_memory(one), []).append(one)
            if one.grad is not None:
                self._by_memory.setdefault(_memory(one.grad), []).append(one)

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Keep what the function may write to, and run it."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "backward":  # it writes to the gradients of whatever is behind it
            self._keep(chain.from_iterable(self._by_memory.values()))
        else:
            for one in _written(name, args, kwargs):
                self._keep(self._by_memory.get(_memory(one), ()))
        return func(*args, **kwargs)

    def _keep(self, parameters: Iterable[Tensor]) -> None:
        for one in parameters:
            with _LOCK:
                if id(one) not in _KEPT:
                    _KEPT[id(one)] = _Was.now(one)


def _memory(tensor: Tensor) -> int:
    """Where its values lie, with those of all its views; 0 of what has no one place."""
    try:
        return tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):
        return 0


_ITEMS = ("__setitem__", "__set__", "numpy", "set_", "swap_tensors")
"""Functions that write, or hand out memory that may be written to, and whose names end otherwise;
``__set__`` is that of ``.data``, ``.grad`` and the like."""


_SEVERAL = (list, tuple)
"""Not ``list | tuple``: torch 2.6 compiles what is called here, and cannot read a union."""


def _written(name: str, args: Sequence[object], kwargs: Mapping[str, object]) -> Iterator[Tensor]:
    """The tensors that a function writes to."""
    given: list[object] = [kwargs.get("out")]
    if name in ("embedding", "embedding_bag"):
        norm = args[3] if len(args) > 3 else kwargs.get("max_norm")
        given += [] if norm is None else [args[1] if len(args) > 1 else kwargs.get("weight")]
    elif _in_place(name) or name in _ITEMS or kwargs.get("inplace"):
        given.append(args[0] if args else next(iter(kwargs.values()), None))
    for one in given:
        several = one if isinstance(one, _SEVERAL) else (one,)
        yield from (each for each in several if isinstance(each, Tensor) and _memory(each))


def _in_place(name: str) -> bool:
    inner = name.strip("_")
    if name.startswith("__"):
        return inner.startswith("i") and inner not in ("invert", "index", "int")
    return name.endswith("_") and not name.endswith("__") and inner != ""


# --- whether any of it is needed ------------------------------------------------------------------


@dataclass(frozen=True)
class _Code:
    """What a class's forward, and what it calls, may write to: anything, or some attributes.

    Attributes:
        names: all that stand in that code.
    """

    anything: bool
    attributes: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()


_CODES: WeakKeyDictionary[type, _Code] = WeakKeyDictionary()
_STORE, _SUBSCRIPT = opcode.opmap["STORE_ATTR"], opcode.opmap["STORE_SUBSCR"]
_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
_OWN_CODE = ("_forward_pre_hooks", "_forward_hooks", "forward")
"""Attributes in which one module may have code that others of its class do not have."""
_MOST = 256
"""Functions that are looked at for a class."""
_HARMLESS = frozenset(
    ("builtins", "einops", "gradcam_hooks", "timm", "torch", "torchvision", "transformers")
)
"""Packages no forward of which writes to a parameter, but for torch's embeddings."""

_Of = tuple[object, type]
"""What may be a function, and the class whose other functions it may name."""


def may_write(modules: Sequence[nn.Module]) -> bool:
    """Whether the forward of any of them looks as if it wrote to a parameter."""
    codes = {kind: _code(kind) for kind in {*map(type, modules)}}
    if any(code.anything for code in codes.values()):
        return True
    named = {kind for kind, code in codes.items() if code.names}
    embeddings = {kind for kind in codes if issubclass(kind, _EMBEDDINGS)}
    for module in modules:
        held, kind = vars(module), type(module)
        if kind in embeddings and held.get("max_norm") is not None:
            return True
        if not (kind in named or any(map(held.get, _OWN_CODE))):
            continue
        if kind in named and codes[kind].attributes & held["_parameters"].keys():
            return True
        own = [*held["_forward_pre_hooks"].values(), *held["_forward_hooks"].values()]
        own += [held["forward"]] if "forward" in held else []
        todo = [of for one in own for of in _meant(one, (), kind)]
        if kind in named:  # what it calls of a part or a helper of its own
            names = codes[kind].names
            parts = (one for mine in (held, held["_modules"]) for one in map(mine.get, names))
            todo += [of for one in parts for of in _meant(one, names - {"forward"}, kind)]
        if todo and _read(todo).anything:
            return True
    return False


def _code(kind: type[nn.Module]) -> _Code:
    code = _CODES.get(kind)
    if code is None:
        # Of scripted modules it is nothing that can be asked of the class.
        defined = (vars(base)["forward"] for base in kind.__mro__ if "forward" in vars(base))
        code = _CODES[kind] = _read([(next(defined, None), kind)])
    return code


def _read(functions: Iterable[_Of]) -> _Code:
    """What these functions, and those that they name, may write to."""
    todo, seen = list(functions), set[CodeType]()
    attributes, every = set[str](), set[str]()
    while todo and len(seen) < _MOST:
        given, kind = todo.pop()
        function = _unwrapped(given)
        if not isinstance(function, FunctionType) or function.__code__ in seen:
            continue
        if _harmless(function.__module__):
            continue
        seen.add(function.__code__)
        for code in _nested(function.__code__):
            pairs = list(zip(code.co_code[::2], code.co_code[1::2], strict=True))
            names = set(code.co_names)
            if any(map(_suspect, names)) or any(op == _SUBSCRIPT for op, _ in pairs):
                return _Code(anything=True)
            attributes.update(
                code.co_names[at] for op, at in pairs if op == _STORE and at < len(code.co_names)
            )
            every |= names
            own = [vars(base).get(name) for base in kind.__mro__ for name in names]
            todo += [(one, kind) for one in own]
            around = [*own, *map(function.__globals__.get, names), *_enclosed(function)]
            todo += [of for one in around for of in _meant(one, names, kind)]
    return _Code(False, frozenset(attributes), frozenset(every))


def _meant(thing: object, names: Collection[str], kind: type) -> Iterable[_Of]:
    """What code with these names may run of something that it has at hand."""
    if not _is_code(thing) and _harmless(type(thing).__module__):
        return []
    if isinstance(thing, ModuleType):
        inside = {} if _harmless(thing.__name__) else vars(thing)
        return [(inside.get(name), kind) for name in names]
    if _is_code(thing) and not isinstance(thing, type):
        return [(thing, type(thing.__self__) if isinstance(thing, MethodType) else kind)]
    of = thing if isinstance(thing, type) else type(thing)
    return [(vars(base).get(name), of) for base in of.__mro__ for name in (*names, "__call__")]


def _is_code(thing: object) -> bool:
    return isinstance(thing, FunctionType | MethodType | ModuleType | partial | type)


def _unwrapped(given: object) -> object:
    """The function that is behind a method, a property, a partial or a decorator."""
    for name in ("__wrapped__", "__func__", "fget", "func"):
        given = getattr(given, name, given)
    return getattr(given, "__func__", given)


def _enclosed(function: FunctionType) -> Iterator[object]:
    """What a function that was defined in another has of it."""
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # it has not been set yet
            yield cell.cell_contents


def _harmless(package: object) -> bool:
    return str(package).partition(".")[0] in _HARMLESS


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield from _nested(one)


def _suspect(name: str) -> bool:
    """Whether a name in the code is one of what writes, or what hands out memory to write to."""
    writes = not name.startswith("_") and _in_place(name) and name != "relu_"
    return writes or name in _WRITING or name.startswith("_foreach_")


_WRITING = frozenset(
    [
        "data",
        "numpy",
        "backward",
        "zero_grad",
        "load_state_dict",
        "reset_parameters",
        "vector_to_parameters",
    ]
)
