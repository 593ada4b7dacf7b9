"""What an explanation could leave behind: a snapshot of it, and a model that shows all of it."""

from __future__ import annotations

import gc
import random
import signal
import sys
import threading
import warnings
from collections import deque
from hashlib import sha256

import numpy as np
import sympy  # noqa: F401  # torch 2.6 imports it late, and it adds a filter of warnings
import torch
from torch import Tensor, nn
from torch.backends import cuda, cudnn, mkldnn
from torch.nn.modules import module as torch_module
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from gradcam_hooks.network import blocks, holding
from tests.support.nets import Raising, residual

GLOBAL_HOOKS = [
    one
    for name, one in vars(torch_module).items()
    if name.startswith("_global_") and isinstance(one, dict)
]


def surroundings() -> list[object]:
    """What belongs to the thread or to the process, and not to a model."""
    kinds = ("cpu", "cuda")
    return [
        ("gradients", torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        ("autocast", [(torch.is_autocast_enabled(k), torch.get_autocast_dtype(k)) for k in kinds]),
        ("casts", torch.is_autocast_cache_enabled(), torch.autocast_increment_nesting() - 1),
        ("casts", torch.autocast_decrement_nesting()),
        ("functions", torch._C._len_torch_function_stack()),
        ("dispatch", len(_get_current_dispatch_mode_stack())),
        ("vmap", torch._C._functorch.get_dynamic_layer_stack_depth()),
        ("global hooks", [len(one) for one in GLOBAL_HOOKS]),
        ("precision", torch.get_float32_matmul_precision(), torch.get_default_dtype()),
        ("precision", cuda.matmul.allow_tf32, cudnn.allow_tf32, torch.get_default_device()),
        ("cudnn", cudnn.enabled, cudnn.benchmark, cudnn.deterministic),
        ("oneDNN", mkldnn.enabled, mkldnn.deterministic),
        ("deterministic", torch.are_deterministic_algorithms_enabled()),
        ("deterministic", torch.is_deterministic_algorithms_warn_only_enabled()),
        ("deterministic", torch.utils.deterministic.fill_uninitialized_memory),
        (
            "autograd",
            torch.is_anomaly_enabled(),
            torch._C._autograd._saved_tensors_hooks_is_enabled(),
        ),
        ("autograd", torch._C._is_torch_function_enabled(), torch.is_warn_always_enabled()),
        ("attention", cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled()),
        ("attention", cuda.math_sdp_enabled(), cuda.cudnn_sdp_enabled()),
        ("fast path", torch.backends.mha.get_fastpath_enabled()),
        ("threads", torch.get_num_threads(), torch.get_num_interop_threads()),
        ("threads", threading.active_count(), [one._is_owned() for one in blocks.LOCKS]),
        ("held", len(holding._HOLDS), blocks._HERE.open),
        ("Python", gc.isenabled(), sys.getrecursionlimit(), signal.getsignal(signal.SIGINT)),
        ("warnings", list(warnings.filters)),
        ("torch's chance", torch.get_rng_state().tolist()),
        ("Python's chance", random.getstate()),
        ("NumPy's chance", str(np.random.get_state()[1].tolist()), np.random.get_state()[2]),
    ]


def snapshot(net: nn.Module) -> list[object]:
    """Everything about a model and its surroundings that an explanation could disturb."""
    state = surroundings()
    for name, module in net.named_modules():
        for key, value in sorted(vars(module).items()):
            held = _told(value)
            state.append((name, key, held))
        kind = type(module)
        state.append((name, kind, {key: id(one) for key, one in vars(kind).items()}))
    for name, parameter in net.named_parameters():
        grad = None if parameter.grad is None else (id(parameter.grad), parameter.grad.tolist())
        state.append((name, id(parameter), parameter.requires_grad, grad, _told(parameter)))
        state.append((name, parameter._backward_hooks, _told(vars(parameter))))
    return state


def _told(value: object, depth: int = 0) -> object:
    """A value so that it can be compared; tensors and what else there may be also by identity.

    Of an object that is no module, such as a configuration, what is in it as well.
    """
    if isinstance(value, Tensor):
        about = value.shape, value.stride(), value.dtype, value.requires_grad, value.is_leaf
        return id(value), about, _numbers(value)
    if isinstance(value, dict):
        return {key: _told(one, depth) for key, one in value.items()}
    if isinstance(value, list | tuple | set | deque):
        return [_told(one, depth) for one in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    inside = None if isinstance(value, nn.Module | type) else getattr(value, "__dict__", None)
    if not isinstance(inside, dict) or callable(value) or depth == 3:
        return id(value)
    return id(value), {key: _told(one, depth + 1) for key, one in inside.items()}


def _numbers(tensor: Tensor) -> object:
    """Its values: a digest of their bytes, so that a network of any size is told at once."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        return str(tensor)
    plain = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
    return sha256(plain.flatten().view(torch.uint8).numpy()).hexdigest()


class Disturbing(nn.Module):
    """A model with all that can be disturbed: modes, gradients, buffers, random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.body = residual()
        self.body.train()
        self.body.bn2.eval()  # somebody froze this one
        self.body.conv1.weight.requires_grad_(False)
        self.body.fc.bias.grad = torch.full_like(self.body.fc.bias, 3.0)
        self.raising = Raising()
        self.register_buffer("written", torch.zeros(()))
        self.register_buffer("replaced", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.written += 1
        self.replaced = self.replaced + 1
        noise = torch.rand_like(x) * random.random() * 1e-9
        return self.body(self.raising(x + noise))
