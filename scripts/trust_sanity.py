"""T5: sanity and cost, on the networks of T1.

eMPRT, sMPRT and plain MPRT where weights are drawn anew; a network that learned labels without
meaning; another class; what tells two classes apart; a hair of noise; and what a map costs.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from trust_faithful import sure_shapes
from trust_grids import Plan, photographed, trained
from trust_networks import Staged
from trust_pictures import CLASSES
from trust_units import Found, Unit, seed_of
from trust_ways import Way, maps_of, ways

import gradcam_hooks as gh
from gradcam_hooks import metrics
from gradcam_hooks.metrics.measured import joined

__all__ = ["COSTS", "passes", "sanity_units"]

COSTS = ("forward images", "backward passes", "milliseconds", "MiB")
"""Of these the last two differ from run to run."""

_STEPS, _NOISY = 4, 4
"""How many steps of the cascade are explained, and noisy versions of each image."""

_SLOW = ("integratedgradcam", "smoothgradcam++")
"""Of the large network these are left out, which are asked some twenty times."""


def sanity_units(plan: Plan, seeds: tuple[int, ...], counts: tuple[int, int]) -> list[Unit]:
    """The units of T5; ``counts`` of pictures, and of how many dear ways are asked."""
    found = []
    if plan.real[0]:
        key = f"T5 real seed={seeds[0]} {plan.real[0]} {','.join(plan.methods)}"
        work = partial(_on_photographs, plan, seeds[0])
        found.append(Unit("T5", "real last", seeds[0], key, work))
    for kind in plan.kinds:
        for seed in seeds:
            key = f"seed={seed} {counts} {plan.epochs} {','.join(plan.methods)}"
            work = partial(_measured, plan, kind, seed, counts)
            found.append(Unit("T5", f"{kind} last", seed, f"T5 {kind} {key}", work))
        work = partial(_cost, plan, kind)
        key = f"T5 cost {kind} {plan.epochs} {','.join(plan.methods)}"
        found.append(Unit("T5", f"cost {kind} last", 0, key, work))
    return found


def _measured(plan: Plan, kind: str, seed: int, counts: tuple[int, int]) -> Found:
    net = trained(plan, kind, seed)
    shuffled = trained(plan, kind, seed, shuffled=True)
    images, classes = sure_shapes(net, counts[0], seed)
    others = _others(classes, CLASSES, seed)
    found = Found()
    for way in ways(plan.methods):
        count = counts[1] if way.dear else counts[0]
        if count:
            asked = _Asked(way, images[:count], classes[:count], others[:count], seed)
            asked.add_to(found, counts[0], net, shuffled)
    return found


def _on_photographs(plan: Plan, seed: int) -> Found:
    """Ours, less the dear ones, on the large network; there is none that learned other labels."""
    net, images, classes, sure = photographed(plan.real[0])
    found = Found(about={"sure": sure})
    for way in ways(plan.methods, peers=False):
        if not way.dear and way.method not in _SLOW:
            asked = _Asked(way, images, classes, _others(classes, 1000, seed), seed)
            asked.add_to(found, len(images), net)
    return found


def _others(classes: list[int], count: int, seed: int) -> list[int]:
    """Of so many classes another than each."""
    chance = random.Random(seed_of("others", seed))
    return [chance.choice([one for one in range(count) if one != own]) for own in classes]


class _NoMapError(Exception):
    """A way gave no map."""


class _Asked:
    """One way, asked of images over and over."""

    def __init__(
        self, way: Way, images: Tensor, classes: list[int], others: list[int], seed: int
    ) -> None:
        self.way, self.images, self.seed = way, images, seed
        self.classes, self.others = classes, others

    def maps(
        self, net: Staged, images: Tensor | None = None, classes: list[int] | None = None
    ) -> Tensor:
        """Its maps of these images, or of its own."""
        given = self.images if images is None else images
        found = maps_of(self.way, net, net.layer("last"), given, classes or self.classes, self.seed)
        if isinstance(found, str):
            raise _NoMapError(found)
        return found

    def add_to(self, found: Found, count: int, net: Staged, shuffled: Staged | None = None) -> None:
        """What is measured of it, of so many pictures; or why it gives no map."""
        try:
            values = self._measured(net, shuffled)
        except _NoMapError as none:
            found.missing[self.way.name] = str(none)
            return
        for measure, numbers in values.items():
            found.add(measure, self.way.name, numbers.values.tolist(), count)

    def _measured(self, net: Staged, shuffled: Staged | None) -> dict[str, metrics.Measured]:
        """Every number but the costs."""
        own = self.maps(net)
        noisy = [self._near(number) for number in range(_NOISY)]
        quiet = torch.stack([self.maps(net, one) for one in noisy])
        layers = sum(1 for _ in metrics.cascade(net))
        wanted = {round((step + 1) * layers / _STEPS) - 1 for step in range(_STEPS)}
        plain, smooth = [], []
        for number, (_, changed) in enumerate(metrics.cascade(net, seed=self.seed)):
            if number in wanted:
                assert isinstance(changed, Staged)  # a copy of the network
                plain.append(self.maps(changed))
                smooth.append(torch.stack([self.maps(changed, one) for one in noisy]))
        other = {} if shuffled is None else {"shuffled labels": [self.maps(shuffled)]}
        return {
            "eMPRT": metrics.emprt(own, plain[-1]),
            "sMPRT": metrics.smprt(quiet, smooth),
            "MPRT": metrics.mprt(own, plain),
            **{measure: metrics.mprt(own, maps) for measure, maps in other.items()},
            "random logit": metrics.random_logit(own, self.maps(net, classes=self.others)),
            "max-sensitivity": metrics.max_sensitivity(
                partial(self.maps, net), self.images, own, samples=3
            ),
            **self._contrast(net),
        }

    def _near(self, number: int) -> Tensor:
        generator = torch.Generator().manual_seed(number)
        return self.images + 0.1 * torch.randn(self.images.shape, generator=generator)

    def _contrast(self, net: Staged) -> dict[str, metrics.Measured]:
        """Of ours the map of the difference of two classes, on grids that show both."""
        if self.way.source != "ours" or self.way.dear:
            return {}
        turn = self.images.roll(1, 0)
        foils = [*self.classes[-1:], *self.classes[:-1]]
        rows = [i for i, (a, b) in enumerate(zip(self.classes, foils, strict=True)) if a != b]
        both = torch.cat([torch.cat([self.images, turn], 3), torch.cat([turn, turn], 3)], 2)
        scores = []
        maps: list[Tensor] = []
        for row in rows:
            this, that = self.classes[row], foils[row]
            try:
                raw = gh.explain(
                    net,
                    both[row : row + 1],
                    net.layer("last"),
                    target=gh.Difference(this, that),
                    method=self.way.method,
                ).raw
            except gh.GradCamHooksError:  # of classes alone
                return {}
            assert isinstance(raw, Tensor)  # one layer
            one, other = (
                metrics.scored(net, both[row : row + 1], torch.tensor([label]))
                for label in (this, that)
            )
            maps.append(raw)
            scores.append(
                metrics.contrastive_faithfulness(one, other, both[row : row + 1], raw, steps=16)
            )
        return {"contrastive": joined(scores)} if scores else {}


@contextmanager
def passes(net: nn.Module) -> Iterator[dict[str, int]]:
    """Counts images that go through the network's first convolution, and gradients behind it."""
    counted = {"forward": 0, "backward": 0}
    first = next(one for one in net.modules() if isinstance(one, nn.Conv2d))
    last = [one for one in net.modules() if isinstance(one, nn.Linear | nn.Conv2d)][-1]

    def forward(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        counted["forward"] += len(output)

    def behind(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        if output.requires_grad:
            output.register_hook(backward)  # type: ignore[no-untyped-call]

    def backward(gradient: Tensor) -> None:
        counted["backward"] += 1

    handles = [first.register_forward_hook(forward), last.register_forward_hook(behind)]
    try:
        yield counted
    finally:
        for handle in handles:
            handle.remove()


def _cost(plan: Plan, kind: str) -> Found:
    """Of one map of one picture, the second time it is asked for."""
    net = trained(plan, kind, plan.seeds[0])
    images, classes = sure_shapes(net, 1, plan.seeds[0])
    found = Found()
    for way in ways(plan.methods):
        ask = partial(maps_of, way, net, net.layer("last"), images, classes, 0)
        first = ask()
        if isinstance(first, str):
            found.missing[way.name] = first
            continue
        with passes(net) as counted:
            ask()
        began = time.perf_counter()
        ask()
        taken = time.perf_counter() - began
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
            ask()
        numbers = (counted["forward"], counted["backward"], 1000 * taken, _peak(seen) / 2**20)
        for measure, number in zip(COSTS, numbers, strict=True):
            found.add(measure, way.name, [number], 1)
    return found


def _peak(seen: profile) -> int:
    """The most bytes of tensors that were alive at once, above what was there before."""
    now = most = 0
    inner = seen.profiler
    assert inner is not None
    assert inner.kineto_results is not None  # the block has ended
    events = [one for one in inner.kineto_results.events() if one.name() == "[memory]"]
    for event in sorted(events, key=lambda one: one.start_ns()):
        now += event.nbytes()  # type: ignore[attr-defined]
        most = max(most, now)
    return most
