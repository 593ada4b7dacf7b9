"""A network in whose middle another thread does something while the first one is held there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor, nn

import gradcam_hooks as gh

LONG = 120
"""Seconds after which a thread that waits is taken for one that waits for ever."""


def apart(work: Callable[[], object]) -> object:
    """What ``work`` returns, or raises, in a thread of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result(LONG)


class Meanwhile(nn.Module):
    """The identity; where the thread that set ``do`` runs through it, that is done first.

    Up to six times: some methods run the network often, and each time alike.
    """

    def __init__(self) -> None:
        super().__init__()
        self.do: dict[int, Callable[[], object]] = {}
        self.done = 0

    def forward(self, x: Tensor) -> Tensor:
        do = self.do.get(threading.get_ident())
        if do is not None and self.done < 6:
            do()
            self.done += 1
        return x

    @contextmanager
    def doing(self, do: Callable[[], object]) -> Iterator[None]:
        thread, self.done = threading.get_ident(), 0
        self.do[thread] = do
        try:
            yield
        finally:
            del self.do[thread]
        assert self.done


class Net(nn.Module):
    """A CNN with a place for something else to happen behind each layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.early, self.late = Meanwhile(), Meanwhile()
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.early(self.bn1(self.conv1(x))))
        x = torch.relu(self.late(self.bn2(self.conv2(x))))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


def cnn() -> Net:
    torch.manual_seed(0)
    net = Net().double()
    with torch.no_grad():
        for _ in range(3):
            net(torch.randn(4, 3, 8, 8, dtype=torch.float64))
    return net.eval()


def same(found: gh.Explanation, alone: gh.Explanation) -> None:
    assert found.layers == alone.layers
    raws = [found.raw] if isinstance(found.raw, Tensor) else found.raw
    wanted = [alone.raw] if isinstance(alone.raw, Tensor) else alone.raw
    for raw, want in zip(raws, wanted, strict=True):
        assert want.any()
        assert torch.equal(raw, want)
    assert torch.equal(found.scores, alone.scores)
    assert torch.equal(found.maps, alone.maps)
