"""What belongs to all threads, changed for explanations, is put back by whoever leaves last."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

import pytest
import torch
from torch import nn

import gradcam_hooks as gh
from gradcam_hooks.network.holding import held
from gradcam_hooks.network.state import untouched
from tests.support.meanwhile import LONG, cnn, same
from tests.support.nets import images


def test_a_model_in_training_mode_is_put_back_by_whoever_is_last() -> None:
    net, x = cnn(), images(4)
    alone = gh.explain(net, x, "conv2", target=1)
    net.train()
    net.bn1.eval()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    first_is_in, second_is_in, first_is_out = (threading.Event() for _ in range(3))

    def first() -> None:
        def meet() -> None:
            first_is_in.set()
            assert second_is_in.wait(LONG)

        with net.early.doing(meet):
            same(gh.explain(net, x, "conv2", target=1), alone)
        first_is_out.set()

    def second() -> None:
        def meet() -> None:
            second_is_in.set()
            assert first_is_out.wait(LONG)
            assert not any(module.training for module in net.modules())

        assert first_is_in.wait(LONG)
        with net.early.doing(meet):  # ahead of the norms that would learn
            same(gh.explain(net, x, "conv2", target=1), alone)

    with ThreadPoolExecutor(2) as pool:
        for one in [pool.submit(first), pool.submit(second)]:
            one.result(LONG)
    assert [module.training for module in net.modules()] == modes
    for name, value in net.state_dict().items():
        assert torch.equal(value, state[name])


def overlapping(
    before: Callable[[], AbstractContextManager[object]],
    after: Callable[[], AbstractContextManager[object]],
    work: Callable[[], object],
) -> None:
    """Enter one block, then in another thread a second one; leave the first, and then that."""
    outer = before()
    with outer:
        work()
        entered, left = threading.Event(), threading.Event()

        def inner() -> None:
            with after():
                work()
                entered.set()
                assert left.wait(LONG)
                work()

        pool = ThreadPoolExecutor(1)
        running = pool.submit(inner)
        assert entered.wait(LONG)
    left.set()
    running.result(LONG)
    pool.shutdown()


@pytest.mark.parametrize("outer", ["whole", "part"])
def test_explanations_of_a_model_and_of_a_part_of_it_overlap(
    outer: Literal["whole", "part"],
) -> None:
    net = nn.Sequential(nn.Sequential(nn.BatchNorm1d(2), nn.Dropout()), nn.BatchNorm1d(2))
    net[0].register_buffer("count", torch.zeros(()))
    whole, part = net.train(), net[0]
    flags: list[bool] = []

    def work() -> None:
        flags.extend(module.training for module in part.modules())
        part.count += 1
        torch.rand(1)
        random.random()

    chance = torch.get_rng_state(), random.getstate()
    one, two = (whole, part) if outer == "whole" else (part, whole)
    overlapping(lambda: untouched(one), lambda: untouched(two), work)
    assert flags == [False] * 9
    assert all(module.training for module in net.modules())
    assert part.count == 0
    assert torch.equal(torch.get_rng_state(), chance[0])
    assert random.getstate() == chance[1]


def test_who_comes_first_changes_and_who_leaves_last_puts_back() -> None:
    told: list[tuple[str, list[str]]] = []

    @contextmanager
    def change(things: list[str]) -> Iterator[None]:
        told.append(("changed", things))
        yield
        told.append(("put back", things))

    def hold(*keys: str) -> AbstractContextManager[None]:
        return held(dict(zip(keys, keys, strict=True)), change)

    with hold("a"):
        with hold("a", "b"), hold("b"), hold("a"):
            pass
        assert told == [("changed", ["a"]), ("changed", ["b"]), ("put back", ["b"])]
    assert told[3:] == [("put back", ["a"])]
    told.clear()
    overlapping(lambda: hold("a"), lambda: hold("a", "b"), lambda: None)
    assert [what for what, _ in told] == ["changed", "changed", "put back", "put back"]
    assert sorted(things[0] for what, things in told if what == "put back") == ["a", "b"]


def test_what_could_not_be_changed_is_held_by_nobody() -> None:
    @contextmanager
    def refuse(things: list[str]) -> Iterator[None]:
        raise ValueError("not this one")
        yield

    changed: list[str] = []

    @contextmanager
    def change(things: list[str]) -> Iterator[None]:
        changed.extend(things)
        yield

    with pytest.raises(ValueError, match="not this one"), held({1: "a"}, refuse):
        pass
    with held({1: "a"}, change):
        pass
    assert changed == ["a"]
