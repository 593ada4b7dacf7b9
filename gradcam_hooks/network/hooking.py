"""The library's own forward hooks: all or none, first in line, for one thread, gone with a block.

**First in line.** What `acting` is told to do is done with what a module's ``forward`` returned,
ahead of every other hook: of those on the module, and of torch's global ones. A hook that is there
first would keep, or hand on, a tensor that ours never saw.

**For one thread.** The hooks are the module's and every thread runs into them; they act in the
thread that asked, while it asks, and let everybody else's passes through untouched.

Knows modules; neither what a hook is for nor what flows through it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import Lock, get_ident
from types import TracebackType
from typing import TYPE_CHECKING, cast

from torch import nn
from torch.nn.modules import module as torch_module

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Acting", "Hooks", "entered", "hooked"]

Leave = Callable[[str, object], object]
"""Told a module's name and what its forward returned; what it returns, unless None, takes its
place."""

Enter = Callable[[str, tuple[object, ...], Mapping[str, object]], None]
"""Told a module's name and what goes into its forward."""

_REGISTERING = Lock()
"""Torch numbers hooks without a lock: of two registered at once the second could replace the
first."""


@dataclass
class Acting:
    """What the hooks do in one thread, and what they notice meanwhile.

    Attributes:
        leave: what they do.
        late: the modules at which somebody else's hook came first all the same.
        elsewhere: the modules that ran in a thread in which these hooks do nothing.
    """

    leave: Leave
    late: set[str] = field(default_factory=set)
    elsewhere: set[str] = field(default_factory=set)
    ahead_of_all: bool = False


class Hooks:
    """A forward hook on each of some modules while open; nothing happens but under `acting`.

    Args:
        modules: by the name that a hook is told.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self._threads: dict[int, Acting] = {}
        self._hooks = [(_Hook(name, self._threads), one) for name, one in modules.items()]
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with _REGISTERING, ExitStack() as stack:
            for hook, module in self._hooks:
                stack.enter_context(module.register_forward_hook(hook, prepend=True))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._stack.close()

    @contextmanager
    def acting(self, leave: Leave) -> Iterator[Acting]:
        """While open, the hooks do this in this thread; first in line again, whoever came since."""
        here, thread = Acting(leave), get_ident()
        outer = self._threads.get(thread)
        with ExitStack() as stack:
            if _others(torch_module._global_forward_hooks):
                stack.enter_context(self._ahead_of_all(here, thread))
            else:
                self._first()
            self._threads[thread] = here
            try:
                yield here
            finally:
                if outer is None:
                    del self._threads[thread]
                else:
                    self._threads[thread] = outer

    def _first(self) -> None:
        for hook, module in self._hooks:
            if next(iter(tuple(module._forward_hooks.values())), hook) is not hook:
                with _REGISTERING:
                    _to_front(module._forward_hooks, hook)

    @contextmanager
    def _ahead_of_all(self, here: Acting, thread: int) -> Iterator[None]:
        """Torch's global hooks come before a module's own, so ours is one of them for a while."""
        dispatch = _Dispatch(thread)
        for hook, module in self._hooks:
            dispatch.hooks.setdefault(module, []).append(hook)
        with _REGISTERING:
            handle = torch_module.register_module_forward_hook(dispatch)  # type: ignore[arg-type]
            _to_front(torch_module._global_forward_hooks, dispatch)
        here.ahead_of_all = True
        with handle:
            yield


class _Hook:
    """The hook on one module."""

    def __init__(self, name: str, threads: dict[int, Acting]) -> None:
        self.name = name
        self._threads = threads

    def __call__(self, module: nn.Module, args: object, output: object) -> object:
        threads = self._threads
        if not threads:
            return None
        here = threads.get(get_ident())
        if here is None:
            for acting in tuple(threads.values()):
                acting.elsewhere.add(self.name)
            return None
        if here.ahead_of_all:  # the global one has been here
            return None
        if _late(self, module):
            here.late.add(self.name)
        return here.leave(self.name, output)

    def ahead_of_all(self, output: object) -> object:
        """The same, from torch's global hook of this thread."""
        here = self._threads.get(get_ident())
        return None if here is None else here.leave(self.name, output)

    def __reduce__(self) -> tuple[type[_Hook], tuple[str, dict[int, Acting]]]:
        """A copy of the model, or a file of it, made while a block is open has hooks at rest."""
        return _Hook, (self.name, {})


@dataclass
class _Dispatch:
    """A global hook that hands on to the hooks of the modules that have one."""

    thread: int
    hooks: dict[nn.Module, list[_Hook]] = field(default_factory=dict)

    def __call__(self, module: nn.Module, args: object, output: object) -> object:
        if get_ident() != self.thread:
            return None
        result = None
        for hook in self.hooks.get(module, ()):
            given = hook.ahead_of_all(output if result is None else result)
            result = result if given is None else given
        return result


def _to_front(hooks: Mapping[int, object], hook: object) -> None:
    ordered = cast("OrderedDict[int, object]", hooks)  # told by torch as a plain dict
    for number in [key for key, one in tuple(ordered.items()) if one is hook]:
        ordered.move_to_end(number, last=False)


def _others(hooks: Mapping[int, object]) -> bool:
    """Whether any of these is not the library's own."""
    return bool(hooks) and any(
        not isinstance(one, _Hook | _Dispatch) for one in tuple(hooks.values())
    )


def _late(hook: _Hook, module: nn.Module) -> bool:
    """Whether somebody else's hook has seen the output before this one, by now."""
    for one in tuple(module._forward_hooks.values()):
        if one is hook:
            return _others(torch_module._global_forward_hooks)
        if not isinstance(one, _Hook):
            return True
    return False  # taken off meanwhile


@contextmanager
def hooked(modules: Mapping[str, nn.Module], leave: Leave) -> Iterator[None]:
    """While open, in this thread, ``leave`` is done with what each module's forward returns."""
    with Hooks(modules) as hooks, hooks.acting(leave):
        yield


@contextmanager
def entered(modules: Mapping[str, nn.Module], enter: Enter) -> Iterator[None]:
    """While open, in this thread, ``enter`` is told what goes into each module's forward.

    These are last in line: they see what other hooks have made of it.
    """
    thread = get_ident()

    def told(name: str) -> Callable[..., None]:
        # Torch looks up whether a hook takes keywords apart from the hook itself, so that another
        # thread, while it is registered or removed, may call it without.
        def hook(
            module: nn.Module,
            args: tuple[object, ...],
            kwargs: Mapping[str, object] | None = None,
        ) -> None:
            if get_ident() == thread:
                enter(name, args, kwargs or {})

        return hook

    with ExitStack() as stack:
        with _REGISTERING:
            for name, module in modules.items():
                handle = module.register_forward_pre_hook(told(name), with_kwargs=True)
                stack.enter_context(handle)
        yield
