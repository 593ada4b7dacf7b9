"""A network whose reasons are known: it names the colour of the one lively square in a picture."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SIDE, SQUARE = 32, 8


class Colours(nn.Module):
    """Class k is the colour k there is most of; the mean over the picture is all it knows."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 3, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(3, 3)
        with torch.no_grad():
            self.features.weight.copy_((3 * torch.eye(3) - 1)[:, :, None, None])
            self.features.bias.fill_(-0.4)
            self.head.weight.copy_(60 * torch.eye(3))
            self.head.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.features(x).relu()).flatten(1))


class Blind(Colours):
    """It says the same whatever it is shown."""

    def forward(self, x: Tensor) -> Tensor:
        return 0 * super().forward(x) + torch.tensor([0.0, 1.0, 0.0])


def squares(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Pictures ``(count, 3, 32, 32)`` of a square off the centre, and their masks."""
    chance = torch.Generator().manual_seed(seed)
    images = 0.3 + 0.1 * torch.rand(count, 1, SIDE, SIDE, generator=chance).expand(-1, 3, -1, -1)
    images, masks = images.clone(), torch.zeros(count, SIDE, SIDE, dtype=torch.bool)
    for number in range(count):
        left, top = (int(one) for one in torch.randint(0, 3, (2,), generator=chance))
        left, top = left + 22 * (number % 2), top + 22 * (number // 2 % 2)
        masks[number, top : top + SQUARE, left : left + SQUARE] = True
        images[number, number % 3][masks[number]] = 0.95
    return images, masks


def moved(activation: Tensor, gradient: Tensor) -> Tensor:
    """Moved: HiResCAM laid half a picture further, a wrong map."""
    return (activation * gradient).sum(1).roll((SIDE // 2, SIDE // 2), (1, 2))
