"""Networks of one trait each that a pass may leave traces in, and ways for it to fail."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.ao import quantization
from torch.nn.utils import spectral_norm
from torch.nn.utils.parametrizations import orthogonal, weight_norm
from torch.utils.checkpoint import checkpoint

from tests.support.every import vit
from tests.support.nets import residual
from tests.support.traces import Disturbing


class Small(nn.Module):
    """A convolution that is explained, something behind it, and a head.

    Args:
        behind: from ``(batch, 4, height, width)`` to the same.
    """

    def __init__(self, behind: nn.Module) -> None:
        super().__init__()
        self.conv, self.behind, self.fc = nn.Conv2d(3, 4, 3, padding=1), behind, nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.behind(self.conv(x).relu()).mean((2, 3)))
        return logits


def small(behind: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return Small(behind).double().eval()


class Columns(nn.Module):
    """An LSTM over the columns of a map."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(32, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        states: Tensor = self.lstm(x.permute(0, 3, 1, 2).flatten(2))[0]
        return states.mT[:, :, None]


class Keeping(nn.Module):
    """Counts, caches and keeps what it saw, in buffers and in attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("cache", None)
        self.kept: list[Tensor] = []
        self.last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.mean.data.mul_(0.9).add_(x.mean().detach())
        self.cache = torch.ones(2) if self.cache is None else self.cache
        self.kept.append(x)
        self.last = x * 2
        return self.last


class Twice(nn.Module):
    """One module at two places."""

    def __init__(self) -> None:
        super().__init__()
        self.first = self.second = nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(self.first(x) + x)
        return out


class Writing(nn.Module):
    """Keeps its weight within bounds, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((4, 1, 1), 3.0))

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.weight.mul_(0.9)
        return x * self.weight


class Checkpointed(nn.Module):
    """Computes its inside anew on the way back."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = checkpoint(self.inner, x, use_reentrant=False)
        return out


def observed() -> nn.Module:
    """A convolution under quantisation-aware training: what it sees moves its ranges."""
    part = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1))
    part.train()
    part.qconfig = quantization.get_default_qat_qconfig("x86", version=0)  # type: ignore[assignment]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return quantization.prepare_qat(part)


PARTS: dict[str, Callable[[], nn.Module]] = {
    "in place": lambda: nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(inplace=True)),
    "residual": lambda: Added(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Dropout(0.2))),
    "shared": Twice,
    "recurrent": Columns,
    "keeping": Keeping,
    "writing": Writing,
    "checkpointed": Checkpointed,
    "weight norm": lambda: weight_norm(nn.Conv2d(4, 4, 1)),
    "spectral norm": lambda: spectral_norm(nn.Conv2d(4, 4, 1)),
    "parametrised": lambda: orthogonal(nn.Conv2d(4, 4, 1)),
    "observed": observed,
    "flattened": lambda: nn.Sequential(nn.Flatten(2), nn.Unflatten(2, (8, 8)), nn.Sigmoid()),
}
"""What a drawn network is made of, from ``(batch, 4, 8, 8)`` to the same."""


class Added(nn.Module):
    """``inner(x) += x``"""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x).clone()
        out += x
        return out


Plan = str | tuple["Plan", ...]
"""A part by its name, or several nested."""

plans = st.recursive(
    st.sampled_from(sorted(PARTS)), lambda inner: st.tuples(inner, inner), max_leaves=4
)


def drawn(plan: Plan, *, shared: bool = False) -> nn.Module:
    """A network of such parts; ``shared``: what is behind the convolution runs twice."""

    def built(plan: Plan) -> nn.Module:
        if isinstance(plan, str):
            return PARTS[plan]()
        return Added(nn.Sequential(*map(built, plan)))

    torch.manual_seed(0)
    behind = built(plan)
    return Small(nn.Sequential(behind, behind) if shared else behind).eval()


NETWORKS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "in place": (residual, "bn2"),
    "disturbing": (Disturbing, "body.bn2"),
    "recurrent": (lambda: small(Columns()), "conv"),
    "keeping": (lambda: small(Keeping()), "conv"),
    "shared": (lambda: small(Twice()), "conv"),
    "parametrised": (lambda: small(weight_norm(nn.Conv2d(4, 4, 3))), "conv"),
    "by a hook": (lambda: small(spectral_norm(nn.Conv2d(4, 4, 3))), "conv"),
    "writing": (lambda: small(Writing()), "conv"),
    "attending": (vit, "blocks.1"),
}
"""By name: how it is made, and the layer to explain."""

ERRORS: tuple[type[BaseException], ...] = (
    ValueError,
    torch.OutOfMemoryError,
    MemoryError,
    RecursionError,
    GeneratorExit,
    KeyboardInterrupt,
    SystemExit,
)


class Failing:
    """A hook that raises at its n-th call."""

    def __init__(self, error: type[BaseException], at: int) -> None:
        self.error, self.left = error, at

    def __call__(self, *_: object) -> None:
        self.left -= 1
        if not self.left:
            raise self.error("from a hook")
