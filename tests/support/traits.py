"""Networks of one trait each that a pass may leave traces in, and ways for it to fail."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils import spectral_norm
from torch.nn.utils.parametrizations import weight_norm

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


NETWORKS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "in place": (residual, "bn2"),
    "disturbing": (Disturbing, "body.bn2"),
    "recurrent": (lambda: small(Columns()), "conv"),
    "keeping": (lambda: small(Keeping()), "conv"),
    "shared": (lambda: small(Twice()), "conv"),
    "parametrised": (lambda: small(weight_norm(nn.Conv2d(4, 4, 3))), "conv"),
    "by a hook": (lambda: small(spectral_norm(nn.Conv2d(4, 4, 3))), "conv"),
    "attending": (vit, "blocks.1"),
}
"""By name: how it is made, and the layer to explain."""

ERRORS: tuple[type[BaseException], ...] = (
    ValueError,
    torch.OutOfMemoryError,
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
