"""What belongs to all threads, changed for explanations, is put back by whoever leaves last."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Literal

import pytest
import torch
from torch import nn

import gradcam_hooks as gh
from gradcam_hooks.network.blocks import Block
from gradcam_hooks.network.holding import Held
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


Around = Callable[[Callable[[], None]], object]
"""Does a piece of work while something is held."""


def overlapping(before: Around, after: Around, work: Callable[[], object]) -> None:
    """Hold one thing, then in another thread a second one; let the first go, and then that."""
    entered, left = threading.Event(), threading.Event()

    def inner() -> None:
        work()
        entered.set()
        assert left.wait(LONG)
        work()

    with ThreadPoolExecutor(1) as pool:

        def outer() -> None:
            work()
            running.append(pool.submit(after, inner))
            assert entered.wait(LONG)

        running: list[Future[object]] = []
        before(outer)
        left.set()
        running[0].result(LONG)


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

    one, two = (whole, part) if outer == "whole" else (part, whole)
    overlapping(partial(untouched, one), partial(untouched, two), work)
    assert flags == [False] * 9
    assert all(module.training for module in net.modules())
    assert part.count == 0


class Telling(Block):
    """Writes down what is done with these things."""

    def __init__(self, told: list[tuple[str, list[str]]], things: list[str]) -> None:
        self.told, self.things = told, things

    def do(self) -> None:
        self.told.append(("changed", self.things))

    def undo(self) -> None:
        self.told.append(("put back", self.things))


def test_who_comes_first_changes_and_who_leaves_last_puts_back() -> None:
    told: list[tuple[str, list[str]]] = []

    def hold(*keys: str) -> Held[str, str]:
        return Held(dict(zip(keys, keys, strict=True)), partial(Telling, told))

    def holding(*keys: str) -> Around:
        def around(work: Callable[[], None]) -> None:
            with hold(*keys):
                work()

        return around

    with hold("a"):
        with hold("a", "b"), hold("b"), hold("a"):
            pass
        assert told == [("changed", ["a"]), ("changed", ["b"]), ("put back", ["b"])]
    assert told[3:] == [("put back", ["a"])]
    told.clear()
    overlapping(holding("a"), holding("a", "b"), lambda: None)
    assert [what for what, _ in told] == ["changed", "changed", "put back", "put back"]
    assert sorted(things[0] for what, things in told if what == "put back") == ["a", "b"]


class Failing(Telling):
    """Fails half way, in doing or in undoing."""

    fails = "do"

    def do(self) -> None:
        super().do()
        if self.fails == "do":
            raise ValueError("not this one")

    def undo(self) -> None:
        super().undo()
        if self.fails == "undo":
            raise ValueError("not this one")


@pytest.mark.parametrize("fails", ["do", "undo"])
def test_what_fails_is_held_by_nobody(monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    monkeypatch.setattr(Failing, "fails", fails)
    told: list[tuple[str, list[str]]] = []
    with (
        pytest.raises(ValueError, match="not this one"),
        Held({1: "a"}, partial(Failing, told)),
    ):
        pass
    with Held({1: "a"}, partial(Telling, told)):
        pass
    once = ["changed", "put back"]
    assert [what for what, _ in told] == [*once, *once[1:] * (fails == "undo"), *once]


def test_what_fails_once_in_putting_back_is_put_back() -> None:
    told: list[tuple[str, list[str]]] = []

    class Once(Telling):
        def undo(self) -> None:
            super().undo()
            if len(told) == 2:
                raise MemoryError

    with Held({1: "a"}, partial(Once, told)):
        pass
    assert [what for what, _ in told] == ["changed", "put back", "put back"]
