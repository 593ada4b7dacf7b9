"""The state of a model around one explanation: as found, whatever happens in between.

Training modes, buffers, grad mode, inference mode, cuDNN's flags and random state are put back on
the way out, also after an exception or KeyboardInterrupt. Parameters, their ``requires_grad`` and
their ``.grad`` need no care: nothing in the library writes to them.

Grad mode and inference mode are the thread's own. The rest belongs to all threads: explanations
that run at the same time share it, and the last of them puts it back. A thread that does something
else meanwhile meets the model in eval mode, and finds its random numbers put back with it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch
from torch import nn

from gradcam_hooks.network.holding import held

__all__ = ["recurrent_on_cuda", "untouched"]


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Run the body with ``model`` in eval mode and leave no trace of it.

    Inside, gradients are off and inference mode is off (a tensor made under it could take no
    part in a backward pass), whatever surrounds the call. ``train()`` and ``eval()`` are not
    called, because models override them: only the flags are set and put back.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(mode=False))
        stack.enter_context(torch.set_grad_enabled(False))
        stack.enter_context(held({"random numbers": None}, _random_state))
        modules = {id(module): module for module in model.modules()}
        stack.enter_context(held(modules, _as_found))
        if recurrent_on_cuda(modules.values()):
            stack.enter_context(held({"cuDNN": None}, _without_cudnn))
        yield


@contextmanager
def _as_found(modules: Sequence[nn.Module]) -> Iterator[None]:
    with _buffers(modules), _evaluating(modules), _uncompiled(modules):
        yield


def _without_cudnn(_: object) -> AbstractContextManager[None]:
    return torch.backends.cudnn.flags(enabled=False)


def recurrent_on_cuda(modules: Iterable[nn.Module]) -> bool:
    """Whether cuDNN would run an RNN, LSTM or GRU: it has no backward pass for them in eval mode.

    PyTorch's own, which is slower, has one; so cuDNN is off while such a model is explained.
    """
    return any(
        isinstance(module, nn.RNNBase) and any(p.is_cuda for p in module.parameters())
        for module in modules
    )


@contextmanager
def _evaluating(modules: Sequence[nn.Module]) -> Iterator[None]:
    training = [module for module in modules if module.training]
    try:
        for module in training:
            module.training = False
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _uncompiled(modules: Sequence[nn.Module]) -> Iterator[None]:
    """What ``compile`` left on a module would run past hooks that came after it."""
    in_place = [
        (module, module._compiled_call_impl)
        for module in modules
        if module._compiled_call_impl is not None
    ]
    # torch.compile(part) stands around the part, and its forward is what was compiled.
    around = [
        (module, module.forward, inner)
        for module in modules
        if "dynamo_ctx" in vars(module) and (inner := module._modules.get("_orig_mod")) is not None
    ]
    try:
        for module, _ in in_place:
            module._compiled_call_impl = None
        for module, _, inner in around:
            module.forward = inner.__call__
        yield
    finally:
        for module, impl in in_place:
            module._compiled_call_impl = impl
        for module, forward, _ in around:
            module.forward = forward


@contextmanager
def _buffers(modules: Sequence[nn.Module]) -> Iterator[None]:
    kept = [
        (module, name, buffer, _version(buffer))
        for module in modules
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    # A buffer may be written in place, so there must be copies; they are small next to weights,
    # and one for all of a kind takes a fraction of the time that one for each does.
    kinds: dict[tuple[torch.dtype, torch.device], list[torch.Tensor]] = {}
    for _, _, buffer, _ in kept:
        kinds.setdefault((buffer.dtype, buffer.device), []).append(buffer.detach())
    copies = {kind: torch.cat([one.reshape(-1) for one in all_]) for kind, all_ in kinds.items()}
    try:
        yield
    finally:
        starts = dict.fromkeys(copies, 0)
        for module, name, buffer, version in kept:
            kind = (buffer.dtype, buffer.device)
            start, starts[kind] = starts[kind], starts[kind] + buffer.numel()
            if _version(buffer) != version:
                copy = copies[kind][start : starts[kind]]
                buffer.detach().copy_(copy.view(buffer.shape))
            if module._buffers.get(name) is not buffer:
                module._buffers[name] = buffer


def _version(tensor: torch.Tensor) -> int:
    """How often it was written in place; an inference tensor cannot be, outside its mode."""
    return -1 if tensor.is_inference() else tensor._version


@contextmanager
def _random_state(_: object) -> Iterator[None]:
    started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    python = random.getstate()
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if started else []):
            yield
    finally:
        random.setstate(python)
