"""Interrupted ahead of any bytecode, which is harder than a signal strikes: no trace.

The suite tries a few of each method; INTERRUPT_EVERY=10 tries every tenth bytecode of a call.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

import pytest
import torch

import gradcam_hooks as gh
from gradcam_hooks.network import blocks
from gradcam_hooks.network.state import untouched
from tests.support.every import CHEAP, attends, vit
from tests.support.nets import images, residual
from tests.support.strikes import ByteStrike
from tests.support.traces import snapshot
from tests.support.traits import NETWORKS

EVERY = int(os.environ.get("INTERRUPT_EVERY", "0"))
QUICK = ("gradcam", "shapleycam", "ablationcam", "guidedgradcam")


def struck(net: torch.nn.Module, work: Callable[[], object], times: int) -> None:
    """Do it again and again, struck each time a step later; look at everything each time."""
    for _ in range(2):
        work()  # what is found out once, is
    never = ByteStrike(0)
    assert not never.during(work)
    before, came = snapshot(net), 0
    step = EVERY or max(never.moments // times, 1)
    tried = range(step // 2 or 1, never.moments, step)
    for at in tried:
        strike = ByteStrike(at, (KeyboardInterrupt, MemoryError)[at // step % 2])
        with contextlib.suppress(gh.GradCamHooksError):  # told as the cause of something else
            came += strike.during(work)
        after = snapshot(net)
        assert [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]] == [], (
            strike.where
        )
    assert came  # some strike what Python deletes, or what is tried


@pytest.mark.parametrize("method", gh.METHODS if EVERY else QUICK)
def test_ahead_of_any_bytecode(method: str) -> None:
    net = (vit() if attends(method) else residual()).train()
    layer, x = ("blocks.1", images(1)) if attends(method) else ("drop", images(1, (4, 4)))

    def work() -> object:
        return gh.explain(net, x, layer, method=method, target=1, **CHEAP.get(method, {}))

    struck(net, work, 4)


@pytest.mark.parametrize("name", sorted(NETWORKS) if EVERY else ["disturbing", "writing"])
def test_whatever_the_network_leaves(name: str) -> None:
    make, layer = NETWORKS[name]
    net = make().train()
    struck(net, lambda: gh.explain(net, images(1), layer, target=1), 6)


def test_in_a_block_and_in_the_table_of_layers() -> None:
    net = residual().train()

    def work() -> None:
        with gh.GradCAM(net, "bn2") as cam, torch.inference_mode():
            cam(images(1), target=gh.TopK(2))
        gh.layers(net, images(1))

    struck(net, work, 8)


@pytest.mark.parametrize("inference", [False, True])
def test_in_a_metric_in_either_mode(inference: bool) -> None:
    net, x = residual().train(), images(1)
    maps = torch.rand(1, 4, 4, dtype=torch.float64)

    def work() -> None:
        gh.metrics.average_drop(gh.metrics.scored(net, x, target=1), x, maps)

    with torch.inference_mode(inference):
        struck(net, work, 40)


def test_in_an_audit_and_in_a_check() -> None:
    net, x = residual().train(), images(4)

    def work() -> None:
        gh.audit(net, x, layer="drop", trials=1, agreement=0)
        gh.explain(net, x[:1], "drop", target=1).check()

    struck(net, work, 3)


def test_between_the_last_steps_of_a_lock() -> None:
    # Ahead of the call that leaves a ``with``, whose body has ended, nothing is left to let it go.
    def work() -> None:
        for one in blocks.LOCKS:
            one.acquire()
        raise KeyboardInterrupt

    assert len(blocks.LOCKS) == 3
    with pytest.raises(KeyboardInterrupt):
        untouched(torch.nn.Identity(), work)
    assert not any(one._is_owned() for one in blocks.LOCKS)


def test_between_the_last_steps_of_a_lock_when_all_is_put_back_once_already() -> None:
    class Last(blocks.Block):
        times = 0

        def do(self) -> None:
            pass

        def undo(self) -> None:
            self.times += 1
            if self.times == 2:
                blocks.LOCKS[0].acquire()
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        blocks.surrounded(Last(), lambda: None)
    assert not any(one._is_owned() for one in blocks.LOCKS)
    assert blocks._HERE.open is None
