"""What an explanation could leave behind: a snapshot of it, and a model that shows all of it."""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn

from tests.support.nets import Raising, residual


def snapshot(net: nn.Module) -> list[object]:
    """Everything about a model and its surroundings that an explanation could disturb."""
    state: list[object] = [torch.is_grad_enabled(), torch.is_inference_mode_enabled()]
    state += [torch.get_rng_state().tolist(), random.getstate()]
    for name, module in net.named_modules():
        hooks = {key: dict(value) for key, value in vars(module).items() if "hook" in key and value}
        state.append((name, module.training, hooks, sorted(vars(module))))
    for name, parameter in net.named_parameters():
        grad = None if parameter.grad is None else (id(parameter.grad), parameter.grad.tolist())
        state.append((name, id(parameter), parameter.requires_grad, grad, parameter.tolist()))
    state += [(name, id(buffer), buffer.tolist()) for name, buffer in net.named_buffers()]
    return state


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
