"""The library's own forward hooks: all or none, first in line, for one thread, gone with a block.

**First in line.** What `acting` is told to do is done with what a module's ``forward`` returned,
ahead of every other hook: of those on the module, and of torch's global ones. A hook that is there
first would keep, or hand on, a tensor that ours never saw.

**For one thread.** The hooks are the module's and every thread runs into them; they act in the
thread that asked, while it asks, and let everybody else's passes through untouched.

**Gone with a block.** They are taken off by what they are and not by a handle, which an
interruption may have kept from being told; one that is left all the same does nothing.

Knows modules; neither what a hook is for nor what flows through it.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import get_ident
from typing import cast
from weakref import finalize

from torch import nn
from torch.nn.modules import module as torch_module

from gradcam_hooks.network.blocks import Block, lock, undo_all

__all__ = ["Acting", "Hooks", "entered", "hooked", "theirs"]

Leave = Callable[[str, object], object]
"""Told a module's name and what its forward returned; what it returns, unless None, takes its
place."""

Enter = Callable[[str, tuple[object, ...], Mapping[str, object]], None]
"""Told a module's name and what goes into its forward."""

_REGISTERING = lock()
"""Torch numbers hooks without a lock: of two registered at once the second could replace the
first."""
if hasattr(os, "register_at_fork"):  # so that no child process waits for a thread it has not
    os.register_at_fork(
        before=_REGISTERING.acquire,
        after_in_parent=_REGISTERING.release,
        after_in_child=_REGISTERING.release,
    )


class Hooks(Block):
    """A forward hook on each of some modules while open; nothing happens but under `acting`.

    Args:
        modules: by the name that a hook is told.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self._acting: dict[int, list[Acting]] = {}
        self._hooks = [(_Hook(name, self._acting), one) for name, one in modules.items()]
        self._forgotten: finalize[[list[tuple[_Hook, nn.Module]]], Hooks] | None = None

    def do(self) -> None:
        """Register them, all or none."""
        # Whoever opened the block may be interrupted before leaving it, and then forget it.
        self._forgotten = finalize(self, _all_off, self._hooks)
        with _REGISTERING:
            for hook, module in self._hooks:
                module.register_forward_hook(hook, prepend=True)

    def undo(self) -> None:
        """Take them off."""
        if self._forgotten is not None:
            _all_off(self._hooks)
            self._forgotten.detach()

    def acting(self, leave: Leave) -> Acting:
        """While open, the hooks do this in this thread; first in line again, whoever came since."""
        return Acting(leave, self._hooks, self._acting)


@dataclass(eq=False)
class Acting(Block):
    """What the hooks do in one thread, and what they notice meanwhile.

    Attributes:
        leave: what they do.
        late: the modules at which somebody else's hook came first all the same.
        elsewhere: the modules that ran in a thread in which these hooks do nothing.
    """

    leave: Leave
    hooks: list[tuple[_Hook, nn.Module]]
    acting: dict[int, list[Acting]]
    late: set[str] = field(default_factory=set)
    elsewhere: set[str] = field(default_factory=set)
    dispatch: _Dispatch | None = None

    def do(self) -> None:
        """Begin."""
        thread = get_ident()
        if _others(torch_module._global_forward_hooks):
            self.dispatch = _Dispatch(thread)
            for hook, module in self.hooks:
                self.dispatch.hooks.setdefault(module, []).append(hook)
            with _REGISTERING:
                torch_module.register_module_forward_hook(self.dispatch)  # type: ignore[arg-type]
                _to_front(torch_module._global_forward_hooks, self.dispatch)
        else:
            self._first()
        self.acting.setdefault(thread, []).append(self)

    def undo(self) -> None:
        """Do nothing any more."""
        for thread, several in tuple(self.acting.items()):
            if self in several:
                several.remove(self)
                if not several:
                    self.acting.pop(thread, None)
        if self.dispatch is not None:
            _off(self.dispatch, torch_module._global_forward_hooks)

    def _first(self) -> None:
        for hook, module in self.hooks:
            if next(iter(tuple(module._forward_hooks.values())), hook) is not hook:
                with _REGISTERING:
                    _to_front(module._forward_hooks, hook)


class _Hook:
    """The hook on one module."""

    def __init__(self, name: str, acting: dict[int, list[Acting]]) -> None:
        self.name = name
        self._acting = acting

    def __call__(self, module: nn.Module, args: object, output: object) -> object:
        if not self._acting:
            return None
        here = self._here()
        if here is None:
            for several in tuple(self._acting.values()):
                for acting in tuple(several):
                    acting.elsewhere.add(self.name)
            return None
        if here.dispatch is not None:  # the global one has been here
            return None
        if _late(self, module):
            here.late.add(self.name)
        return here.leave(self.name, output)

    def _here(self) -> Acting | None:
        several = self._acting.get(get_ident())
        return several[-1] if several else None

    def ahead_of_all(self, output: object) -> object:
        """The same, from torch's global hook of this thread."""
        here = self._here()
        return None if here is None else here.leave(self.name, output)

    def __reduce__(self) -> tuple[type[_Hook], tuple[str, dict[int, list[Acting]]]]:
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


def _all_off(hooks: Sequence[tuple[_Hook, nn.Module]]) -> None:
    for hook, module in hooks:
        _off(hook, module._forward_hooks, module._forward_hooks_with_kwargs)


def _off(hook: object, *registries: Mapping[int, object]) -> None:
    for number in [key for key, one in tuple(registries[0].items()) if one is hook]:
        for registry in reversed(registries):  # as long as it is in the first it will be found
            cast("dict[int, object]", registry).pop(number, None)


def theirs(hooks: Mapping[int, object]) -> list[int]:
    """The numbers of those that are not the library's own."""
    return [key for key, one in tuple(hooks.items()) if not isinstance(one, _OURS)]


def _others(hooks: Mapping[int, object]) -> bool:
    """Whether any of these is not the library's own."""
    return bool(hooks) and bool(theirs(hooks))


def _late(hook: _Hook, module: nn.Module) -> bool:
    """Whether somebody else's hook has seen the output before this one, by now."""
    for one in tuple(module._forward_hooks.values()):
        if one is hook:
            return _others(torch_module._global_forward_hooks)
        if not isinstance(one, _Hook):
            return True
    return False  # taken off meanwhile


class hooked(Block):  # noqa: N801  (said as a verb)
    """While open, in this thread, ``leave`` is done with what each module's forward returns."""

    def __init__(self, modules: Mapping[str, nn.Module], leave: Leave) -> None:
        self._hooks = Hooks(modules)
        self._acting = self._hooks.acting(leave)

    def do(self) -> None:
        """Register them, and begin."""
        self._hooks.do()
        self._acting.do()

    def undo(self) -> None:
        """Stop, and take them off."""
        undo_all((self._hooks, self._acting))


class entered(Block):  # noqa: N801
    """While open, in this thread, ``enter`` is told what goes into each module's forward.

    These are last in line: they see what other hooks have made of it.
    """

    def __init__(self, modules: Mapping[str, nn.Module], enter: Enter) -> None:
        thread = get_ident()
        self._hooks = [(_Entering(name, enter, thread), one) for name, one in modules.items()]

    def do(self) -> None:
        """Register them, all or none."""
        with _REGISTERING:
            for hook, module in self._hooks:
                module.register_forward_pre_hook(hook, with_kwargs=True)

    def undo(self) -> None:
        """Take them off."""
        for hook, module in self._hooks:
            hook.enter = None
            _off(hook, module._forward_pre_hooks, module._forward_pre_hooks_with_kwargs)


@dataclass(eq=False)
class _Entering:
    """The hook ahead of one module."""

    name: str
    enter: Enter | None
    thread: int

    # Torch looks up whether a hook takes keywords apart from the hook itself, so that another
    # thread, while it is registered or removed, may call it without.
    def __call__(
        self,
        module: nn.Module,
        args: tuple[object, ...],
        kwargs: Mapping[str, object] | None = None,
    ) -> None:
        if self.enter is not None and get_ident() == self.thread:
            self.enter(self.name, args, kwargs or {})

    def __reduce__(self) -> tuple[type[_Entering], tuple[str, None, int]]:
        """At rest, as `_Hook`."""
        return _Entering, (self.name, None, self.thread)


_OURS = (_Hook, _Entering, _Dispatch)
