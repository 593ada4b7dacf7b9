"""Time and peak memory of a map, over plain inference: each way on the same network and images.

Time is measured side by side: all ways in one process, in rounds, in a new order each round, each
on its own copy of the modules that shares the weights, so that no way pays for another's hooks.
Memory is measured in a process for each way, by its own high-water mark: `ru_maxrss` would be
inherited from the parent, `VmHWM` is not. Agreement of the maps comes before any number.
"""

from __future__ import annotations

import copy
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from bench_ways import PLAIN, WAYS, opened
from torch import Tensor, nn

__all__ = ["CASES", "LARGE", "Case", "Classes", "Memory", "Time", "classes", "memory", "times"]

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Case:
    """What is explained; ``wrong`` names the ways known to show another tensor's map there."""

    network: str
    layer: str
    batch: int
    wrong: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.network} {self.layer}, batch {self.batch}"

    def build(self) -> nn.Module:
        """The network in eval mode, random weights from a fixed seed."""
        import torchvision

        torch.manual_seed(0)
        model: nn.Module = torchvision.models.get_model(self.network, weights=None)
        return model.eval()

    def images(self) -> Tensor:
        """Random pixels from a fixed seed."""
        return torch.randn(self.batch, 3, 224, 224, generator=torch.Generator().manual_seed(1))


CASES = (
    Case("resnet50", "layer4", 1),
    Case("resnet50", "layer4", 16),
    Case("vgg16", "features", 1),
    Case("densenet121", "features", 1, wrong=("grad-cam", "torchcam")),
    Case("resnet50", "layer1", 1),
)
LARGE = Case("resnet50", "layer4", 64)


@dataclass(frozen=True)
class Time:
    """Seconds of one call, and its share of plain inference in the same round: medians."""

    case: Case
    way: str
    seconds: float
    fastest: float
    ratio: float
    difference: float


@dataclass(frozen=True)
class Memory:
    """Bytes: the process's high-water mark, and what it held after its imports."""

    case: Case
    way: str
    peak: int
    imports: int


@dataclass(frozen=True)
class Classes:
    """Seconds of a plain forward pass and of the maps of all classes: medians, and their ratio."""

    case: Case
    count: int
    plain: float
    seconds: float
    ratio: float


def _copy(model: nn.Module) -> nn.Module:
    shared = {id(one): one for one in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, shared)


def _spoken_for(model: nn.Module, layer: str, images: Tensor) -> list[int]:
    """A class for each image whose map is not blank: two blank maps agree too easily."""
    import gradcam_hooks as gh

    result = gh.explain(model, images, layer, target=gh.TopK(20))
    assert isinstance(result.raw, Tensor)  # one layer was named
    assert result.target is not None  # TopK takes classes
    best = result.raw.flatten(2).amax(2).argmax(1, keepdim=True)
    chosen: list[int] = result.target.gather(1, best)[:, 0].tolist()
    return chosen


def times(case: Case, rounds: int) -> list[Time]:
    """Each way's time in one process, after the maps were found to agree."""
    model, images = case.build(), case.images()
    classes = _spoken_for(model, case.layer, images)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    differences = {PLAIN: 0.0}
    order = list(WAYS)
    shuffled = random.Random(0)
    with ExitStack() as stack:
        ways = {way: stack.enter_context(opened(way, _copy(model), case.layer)) for way in WAYS}
        ours = ways["gradcam_hooks"](images, classes)
        for way in WAYS[1:]:
            difference = float((ways[way](images, classes) - ours).abs().max())
            differences[way] = difference
            if way not in case.wrong and not difference <= TOLERANCE:
                raise SystemExit(f"{case}: {way} differs by {difference:.1e}; nothing is timed.")
        ways[PLAIN](images, classes)
        for _ in range(rounds):
            shuffled.shuffle(order)
            for way in order:
                start = time.perf_counter()
                ways[way](images, classes)
                seconds[way].append(time.perf_counter() - start)
    return [
        Time(
            case,
            way,
            statistics.median(seconds[way]),
            min(seconds[way]),
            _ratio(seconds[way], seconds[PLAIN]),
            differences[way],
        )
        for way in WAYS
    ]


def _ratio(seconds: list[float], plain: list[float]) -> float:
    """The median over the rounds: what slows the machine slows both sides of a round."""
    return statistics.median(one / base for one, base in zip(seconds, plain, strict=True))


def memory(case: Case) -> Iterator[Memory]:
    """Each way's peak, in a process of its own."""
    program = Path(__file__).with_name("bench_memory.py")
    # Blocks that are freed go back to the system at once, the same for all: the mark then tells
    # what a way needed, not where glibc's heap happened to be torn in that run.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
    for way in WAYS:
        command = [sys.executable, str(program), way, case.network, case.layer, str(case.batch)]
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout
        yield Memory(case, way, **json.loads(answer))


def classes(rounds: int) -> Classes:
    """The maps of all 1,000 classes of one image over one plain forward pass."""
    import gradcam_hooks as gh

    case = CASES[0]
    model, images = case.build(), case.images()
    plain: list[float] = []
    every: list[float] = []
    with (
        opened(PLAIN, _copy(model), case.layer) as infer,
        gh.GradCAM(model, case.layer) as explainer,
    ):
        result = explainer(images, target=gh.AllClasses())
        for one in range(0, result.maps.shape[1], 97):
            alone = explainer(images, target=one)
            difference = float((alone.maps[0] - result.maps[0, one]).abs().max())
            if not difference <= TOLERANCE:
                raise SystemExit(
                    f"class {one} alone differs by {difference:.1e}; nothing is timed."
                )
        count = result.maps.shape[1]
        del result
        infer(images, [0])
        for _ in range(rounds):
            start = time.perf_counter()
            infer(images, [0])
            middle = time.perf_counter()
            explainer(images, target=gh.AllClasses())
            plain.append(middle - start)
            every.append(time.perf_counter() - middle)
    return Classes(
        case, count, statistics.median(plain), statistics.median(every), _ratio(every, plain)
    )
