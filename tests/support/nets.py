"""Small networks that the tests share: seeded, in float64, each with the trait its name tells."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def gap_linear(classes: int = 5, channels: int = 6) -> nn.Sequential:
    """Convolution, ReLU, global average pool, linear: on it Grad-CAM is CAM."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(channels, classes),
    ).double()


class Residual(nn.Module):
    """What most CNNs do: an in-place ReLU behind a norm, and ``out += identity``."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(x))
        out += x
        out = self.drop(self.relu(out))
        logits: Tensor = self.fc(self.pool(out).flatten(1))
        return logits


def residual() -> Residual:
    """A `Residual` with running statistics that are not the defaults, in eval mode."""
    torch.manual_seed(1)
    net = Residual().double()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn(4, dtype=torch.float64)
            module.running_var = torch.rand(4, dtype=torch.float64) + 0.5
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return net.eval()


class Recurrent(nn.Module):
    """An LSTM over the columns of a convolution's map."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.lstm = nn.LSTM(6 * 8, 10, batch_first=True)
        self.fc = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        columns = self.conv(x).relu().permute(0, 3, 1, 2).flatten(2)
        states, _ = self.lstm(columns)
        logits: Tensor = self.fc(states[:, -1])
        return logits


class Raising(nn.Module):
    """A layer that raises what it is told to, when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.error: type[BaseException] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.error is not None:
            raise self.error("from inside the model")
        return x


def images(batch: int = 2, size: tuple[int, int] = (8, 8)) -> Tensor:
    """Seeded noise, ``(batch, 3, *size)``, float64."""
    generator = torch.Generator().manual_seed(7)
    return torch.randn(batch, 3, *size, dtype=torch.float64, generator=generator)
