"""How many layers each way gets right, wrong, or not at all, on one network of every family.

The judge is the oracle of the tests. A map is right if it is the oracle's to 1e-5 of its largest
value; where float32's rounding is larger than that, float64 decides. Every way gets the predicted
class, an input that requires gradients, and where channels are last a function that moves them, if
it takes one. Layers that run several times are counted for this library alone, each call.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context

import torch
from bench_ways import RAW, RawFunction
from torch import Tensor, nn

from tests.support.networks import NETWORKS, Network
from tests.support.oracle import Truth, error, kinds, truths

__all__ = ["Count", "count_layers", "total"]

TOLERANCE = 1e-5


@dataclass
class Verdicts:
    """How many maps were right, how many wrong, and how often none came."""

    right: int = 0
    wrong: int = 0
    fails: int = 0

    def __str__(self) -> str:
        return f"{self.right}/{self.wrong}/{self.fails}"

    def add(self, other: Verdicts) -> None:
        """Count the other's too."""
        self.right += other.right
        self.wrong += other.wrong
        self.fails += other.fails


def _none() -> dict[str, Verdicts]:
    return {way: Verdicts() for way in RAW}


@dataclass
class Count:
    """What came of one network.

    Attributes:
        network: its name.
        layers: how many layers that run once.
        ways: what each way made of these.
        repeated: what this library made of each call of the layers that run several times.
        examples: one layer for each way's kind of fault.
    """

    network: str
    layers: int = 0
    ways: dict[str, Verdicts] = field(default_factory=_none)
    repeated: Verdicts = field(default_factory=Verdicts)
    examples: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Judge:
    """One network in one precision, and the truth about it."""

    model: nn.Module
    images: Tensor
    classes: list[int]
    truths: dict[tuple[str, int], Truth]

    @classmethod
    def make(cls, network: Network, dtype: torch.dtype) -> _Judge:
        model, images = network.build().to(dtype), network.image().to(dtype)
        found = {(truth.layer, truth.call): truth for truth in truths(network, model, images)}
        return cls(model, images, model(images).argmax(1).tolist(), found)

    def error(self, way: RawFunction, truth: Truth) -> float:
        truth = self.truths[truth.layer, truth.call]
        images = self.images.clone().requires_grad_()
        raw = way(self.model, truth.layer, images, self.classes, truth.channels_last)
        return error(raw.detach(), truth.raw)

    def error_of_call(self, truth: Truth) -> float:
        import gradcam_hooks as gh

        result = gh.explain(self.model, self.images, truth.layer, call=truth.call)
        assert isinstance(result.raw, Tensor)  # one layer was named
        return error(result.raw, self.truths[truth.layer, truth.call].raw)


def _count(network: Network, each: int | None) -> Count:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    single = _Judge.make(network, torch.float32)
    double = _Judge.make(network, torch.float64)
    found = list(double.truths.values())
    chosen = found if each is None else kinds(found, double.model, each)
    count = Count(network.name)
    for truth in chosen:
        if truth.calls > 1:
            right = any(judge.error_of_call(truth) <= TOLERANCE for judge in (single, double))
            count.repeated.add(Verdicts(right=right, wrong=not right))
            continue
        count.layers += 1
        for way, function in RAW.items():
            try:
                errors = (judge.error(function, truth) for judge in (single, double))
                right = any(one <= TOLERANCE for one in errors)
            except Exception as failure:  # whatever it is, it is counted and told
                verdict = Verdicts(fails=1)
                example = f"{way} fails", f"{truth.layer}: {type(failure).__name__}: {failure}"
            else:
                verdict = Verdicts(right=right, wrong=not right)
                example = f"{way} is wrong", truth.layer
            count.ways[way].add(verdict)
            if not verdict.right:
                count.examples.setdefault(*example)
    return count


def count_layers(each: int | None, processes: int) -> Iterator[Count]:
    """A count for each network, as they come; ``each`` layers of each kind, or all."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        # The longest first, so that none is waited for at the end.
        networks = sorted(NETWORKS, key=lambda network: -network.layers)
        for future in as_completed([pool.submit(_count, one, each) for one in networks]):
            yield future.result()


def total(counts: list[Count]) -> Count:
    """All networks as one."""
    whole = Count("all")
    for count in counts:
        whole.layers += count.layers
        whole.repeated.add(count.repeated)
        for way, verdicts in count.ways.items():
            whole.ways[way].add(verdicts)
    return whole
