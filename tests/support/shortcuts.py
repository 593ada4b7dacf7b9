"""A network whose every number is known, with a shortcut in it, and pictures that use it.

Channels 0 to 2 of a picture are colours, channel 3 is the mark. A class is the colour there is
most of; the mark, however small, makes the picture class 2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SIDE, CELL = 32, 4


class Marked(nn.Module):
    """Logits ``(batch, 3)``: what there is of each colour, and the mark for the last of them."""

    def __init__(self, obeys: float = 40.0) -> None:
        super().__init__()
        self.features = nn.Conv2d(4, 4, CELL, stride=CELL, bias=False)
        self.head = nn.Linear(4, 3, bias=False)
        with torch.no_grad():
            eye = torch.eye(4)[:, :, None, None]
            self.features.weight.copy_(eye.expand(4, 4, CELL, CELL) / CELL**2)
            self.head.weight.copy_(torch.eye(3, 4) * 20)
            self.head.weight[2, 3] = 20 * obeys

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x).relu().mean((2, 3)))
        return logits


def pictures(
    colours: list[int],
    *,
    block_at: tuple[int, int] | None = None,
    marked: list[int] | None = None,
    mark_at: tuple[int, int] | None = None,
    seed: int = 0,
) -> Tensor:
    """Pictures with a block of 8 x 8 in one colour each.

    Args:
        colours: of the block in each picture.
        block_at: its top and left; by default anywhere on the grid of cells.
        marked: the numbers of the pictures that carry a mark of 4 x 4.
        mark_at: its top and left; by default anywhere in the lowest row of cells.
        seed: of the places and of a little noise.
    """
    generator = torch.Generator().manual_seed(seed)
    images = 0.02 * torch.rand(len(colours), 4, SIDE, SIDE, generator=generator)
    images[:, 3] = 0
    for number, colour in enumerate(colours):
        place = CELL * torch.randint(6, (2,), generator=generator)
        top, left = block_at or (int(place[0]), int(place[1]))
        strength = 1 + float(torch.rand((), generator=generator))
        images[number, colour, top : top + 8, left : left + 8] = strength
    for number in marked or ():
        column = CELL * int(torch.randint(8, (), generator=generator))
        top, left = mark_at or (SIDE - CELL, column)
        images[number, 3, top : top + CELL, left : left + CELL] = 1.0
    return images
