"""The state of a model around one explanation: as found, whatever happens in between.

Training flags, attributes, buffers, torch's modes, cuDNN's switch and random numbers are put back
on the way out, also after an exception or an interruption. So are parameters that the network's own
forward writes to, with their ``requires_grad`` and ``.grad``; nothing in the library does.

Modes are the thread's own. The rest belongs to all threads: explanations that run at the same time
share it, and the last of them puts it back. A thread that does something else meanwhile meets the
model in eval mode; random numbers are put back only where there was none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import TypeVar

from torch import nn

from gradcam_hooks.network.blocks import Block, surrounded, undo_all
from gradcam_hooks.network.chance import Chance
from gradcam_hooks.network.contents import Contents
from gradcam_hooks.network.holding import Held
from gradcam_hooks.network.modes import Modes
from gradcam_hooks.network.modules import every
from gradcam_hooks.network.parameters import Guard, may_write, put_back
from gradcam_hooks.network.switches import CUDNN_OFF, switched

__all__ = ["recurrent_on_cuda", "untouched"]

_T = TypeVar("_T")


def untouched(model: nn.Module, work: Callable[[], _T]) -> _T:
    """What ``work`` returns, done with ``model`` in eval mode, of which no trace is left.

    Inside, gradients are off and inference mode is off (a tensor made under it could take no
    part in a backward pass), whatever surrounds the call. ``train()`` and ``eval()`` are not
    called, because models override them: only the flags are set and put back.

    It takes a function, because a ``with`` block may be interrupted before it puts anything back.
    """
    return surrounded(_Untouched(model), work)


class _Untouched(Block):
    def __init__(self, model: nn.Module) -> None:
        modules = {id(module): module for module in every(model)}
        self._chance = Chance()
        self._blocks: list[Block] = [Held(modules, _Evaluating)]
        if recurrent_on_cuda(modules.values()):
            self._blocks.append(switched(CUDNN_OFF))
        self._modes = Modes()
        # Off with the modes, whatever comes between.
        writes = may_write(tuple(modules.values()))
        self._guard = Guard(model.parameters()) if writes else None

    def do(self) -> None:
        self._modes.do()
        if self._guard is not None:
            self._guard.__enter__()  # type: ignore[no-untyped-call]
        for block in self._blocks:
            block.do()

    def undo(self) -> None:
        try:
            undo_all((*self._blocks, self._modes))
        finally:
            self._chance.put_back()


def recurrent_on_cuda(modules: Iterable[nn.Module]) -> bool:
    """Whether cuDNN would run an RNN, LSTM or GRU: it has no backward pass for them in eval mode.

    PyTorch's own, which is slower, has one; so cuDNN is off while such a model is explained.
    """
    return any(
        isinstance(module, nn.RNNBase) and any(p.is_cuda for p in module.parameters())
        for module in modules
    )


class _Evaluating(Block):
    """Modules in eval mode and uncompiled; what `compile` left would run past their hooks."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self._modules = modules
        self._scripted = [one for one in modules if one.training and "training" not in vars(one)]
        self._contents = Contents(modules, ("training", "_compiled_call_impl", "forward"))
        own = (module._parameters.values() for module in modules)
        self._parameters = [one for one in chain.from_iterable(own) if one is not None]

    def do(self) -> None:
        for module in self._modules:
            held = vars(module)
            if held.get("training"):
                held["training"] = False
            if held.get("_compiled_call_impl") is not None:
                held["_compiled_call_impl"] = None
            # torch.compile(part) stands around the part, and its forward is what was compiled.
            inner = module._modules.get("_orig_mod") if "dynamo_ctx" in held else None
            if inner is not None:
                held["forward"] = inner.__call__
        for module in self._scripted:
            module.training = False

    def undo(self) -> None:
        self._contents.put_back()
        put_back(self._parameters)
        for module in self._scripted:
            module.training = True
