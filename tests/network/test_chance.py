"""Random numbers that all threads share: put back where nobody else was at work, and only there."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gradcam_hooks as gh
from tests.support.meanwhile import LONG, Meanwhile
from tests.support.nets import images


def draw() -> tuple[float, float, float]:
    return torch.rand(1, dtype=torch.float64).item(), random.random(), float(np.random.rand())


class Drawing(nn.Module):
    """Draws from the global generators, or from none."""

    def __init__(self, *, draws: bool) -> None:
        super().__init__()
        self.draws, self.place = draws, Meanwhile()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        noise = draw() if self.draws else (0.0,)
        logits: Tensor = self.fc(self.place(self.conv(x)).mean((2, 3))) + 1e-9 * sum(noise)
        return logits


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result(LONG)  # its thread is there from now on
        yield pool


@pytest.mark.parametrize("draws", [False, True])
@pytest.mark.parametrize("method", ["gradcam", "scorecam", "opticam"])
def test_what_another_thread_drew_meanwhile_comes_once(
    pool: ThreadPoolExecutor, method: str, *, draws: bool
) -> None:
    net, drawn = Drawing(draws=draws).double().eval(), [draw()]

    def elsewhere() -> None:
        drawn.append(pool.submit(draw).result(LONG))

    with net.place.doing(elsewhere):
        gh.explain(net, images(), "conv", target=1, method=method)
    drawn.append(draw())
    assert len(drawn) >= 3
    for kind in zip(*drawn, strict=True):
        assert len(set(kind)) == len(drawn)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells that a thread was idle")
@pytest.mark.parametrize("method", ["gradcam", "scorecam", "random"])
def test_what_the_network_draws_is_put_back_while_others_wait(method: str) -> None:
    net, gate = Drawing(draws=True).double().eval(), threading.Lock()
    gate.acquire()
    waiting = threading.Thread(target=gate.acquire)
    waiting.start()
    assert waiting.ident is not None
    while sys._current_frames()[waiting.ident].f_code.co_name != "run":
        time.sleep(0.01)
    time.sleep(0.05)  # from there it is a step until it waits
    try:
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        wanted = draw()
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        gh.explain(net, images(), "conv", target=1, method=method)
        assert draw() == wanted
    finally:
        gate.release()
        waiting.join(LONG)
