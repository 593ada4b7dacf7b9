"""What repeats, beside others: Score-CAM's time and memory, Ablation-CAM's time, each rule's time.

Called as a program it is one way's memory, told by the process that used it: WAY NETWORK LAYER
BATCH. Agreement of the maps comes before any number, as everywhere in the benchmark.
"""

from __future__ import annotations

import io
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from bench_memory import LIBRARIES, status
from bench_price import Case, Memory
from bench_ways import MapFunction
from torch import Tensor, nn

from tests.support.oracle import at

__all__ = ["Pace", "ablation", "rules", "score", "score_memory"]

OURS = "gradcam_hooks"
SCORE_WAYS = (OURS, "torchcam", "grad-cam")
ABLATION_WAYS = (OURS, "grad-cam")

RESIZED_OTHERWISE = 0.05
"""How far apart the ways' Score-CAM maps may lie: each resizes its masks in a way of its own."""

EXACT = 1e-4

_CALLS = 6
"""After so many calls of the network a Score-CAM holds all that it ever holds."""


@dataclass(frozen=True)
class Pace:
    """Seconds of one call, median and fastest, and over those of another in the same round."""

    case: Case
    way: str
    seconds: float
    fastest: float
    ratio: float
    difference: float


@contextmanager
def opened(method: str, way: str, model: nn.Module, layer: str) -> Iterator[MapFunction]:
    """Score-CAM or Ablation-CAM (``"ScoreCAM"``, ``"AblationCAM"``) of one library."""
    if way == OURS:
        import gradcam_hooks as gh

        kind = getattr(gh, method)
        own = {"score": "softmax"} if method == "ScoreCAM" else {}
        with kind(model, layer, **own) as explainer:
            yield lambda images, classes: explainer(images, target=classes).maps
    elif way == "grad-cam":
        import pytorch_grad_cam
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        with getattr(pytorch_grad_cam, method)(model, [model.get_submodule(layer)]) as peer:

            def explain(images: Tensor, classes: list[int]) -> Tensor:
                targets = [ClassifierOutputTarget(one) for one in classes]
                with redirect_stderr(io.StringIO()):  # it draws bars of its progress
                    return torch.from_numpy(peer(images, targets))

            yield explain
    elif way == "torchcam":
        import torchcam.methods

        from gradcam_hooks.maps import finish

        with getattr(torchcam.methods, method)(model, layer) as extractor:

            def extract(images: Tensor, classes: list[int]) -> Tensor:
                with torch.inference_mode():
                    scores = model(images)
                (cam,) = extractor(classes, scores, normalized=False)
                return finish(cam.detach(), images.shape[2:])

            yield extract
    else:
        raise ValueError(f"no way {way!r}; the ways are {', '.join(SCORE_WAYS)}")


def spoken_for(case: Case) -> list[int]:
    """For each image the class of the highest logit, which is above 0."""
    with torch.inference_mode():
        best = case.build()(case.images()).max(1)
    if not bool((best.values > 0).all()):
        raise SystemExit(f"{case}: the highest logit is not above 0; nothing is timed.")
    classes: list[int] = best.indices.tolist()
    return classes


def paces(
    method: str, ways: Sequence[str], case: Case, rounds: int, tolerance: float
) -> list[Pace]:
    """Each way's time, side by side in rounds, after the maps were found to agree."""
    images, classes = case.images(), spoken_for(case)
    with ExitStack() as stack:
        calls = {
            way: stack.enter_context(opened(method, way, case.build(), case.layer)) for way in ways
        }
        runs: dict[str, Callable[[], Tensor]] = {
            way: partial(call, images, classes) for way, call in calls.items()
        }
        return _measured(case, runs, rounds, tolerance)


def _measured(
    case: Case, runs: dict[str, Callable[[], Tensor]], rounds: int, tolerance: float
) -> list[Pace]:
    """The first is what the others are compared with, in their maps and in time."""
    first = next(iter(runs))
    own = runs[first]()
    if not bool(own.any()):
        raise SystemExit(f"{case}: the map is blank, and blank maps agree too easily.")
    differences = {first: 0.0}
    for way in list(runs)[1:]:
        differences[way] = float((runs[way]() - own).abs().max())
        if not differences[way] <= tolerance:
            apart = f"{differences[way]:.1e}"
            raise SystemExit(f"{case}: {way} differs by {apart}; nothing is timed.")
    return _timed(case, runs, rounds, differences)


def _timed(
    case: Case,
    runs: dict[str, Callable[[], Tensor]],
    rounds: int,
    differences: dict[str, float],
) -> list[Pace]:
    first, order = next(iter(runs)), list(runs)
    seconds: dict[str, list[float]] = {way: [] for way in runs}
    shuffled = random.Random(0)
    for _ in range(rounds):
        shuffled.shuffle(order)
        for way in order:
            start = time.perf_counter()
            runs[way]()
            seconds[way].append(time.perf_counter() - start)
    return [
        Pace(
            case,
            way,
            statistics.median(each),
            min(each),
            statistics.median(a / b for a, b in zip(each, seconds[first], strict=True)),
            differences[way],
        )
        for way, each in seconds.items()
    ]


def score(quick: bool) -> list[Pace]:
    """Score-CAM, softmax over channels in all of them; over this library's time.

    Of a resnet18, whose 512 channels take seconds and not minutes; memory is a resnet50's.
    """
    case = Case("resnet18", "layer4", 1)
    return paces("ScoreCAM", SCORE_WAYS, case, 1 if quick else 5, RESIZED_OTHERWISE)


def ablation(quick: bool) -> list[Pace]:
    """Ablation-CAM, where the logit is above 0; over this library's time."""
    case = Case("resnet18" if quick else "resnet50", "layer4", 1)
    return paces("AblationCAM", ABLATION_WAYS, case, 1, EXACT)


def rules(quick: bool) -> list[Pace]:
    """Each rule of activation and gradient over Grad-CAM; each raw map is right beforehand."""
    import gradcam_hooks as gh

    case = Case("resnet18" if quick else "resnet50", "layer4", 1)
    model, images, (target,) = case.build(), case.images(), spoken_for(case)
    activation, gradient = at(model, case.layer, lambda: model(images)[:, target])
    runs: dict[str, Callable[[], Tensor]] = {}
    differences = {}
    with ExitStack() as stack:
        for name, row in gh.METHODS.items():
            if row.rule is None or not row.needs_gradients:
                continue
            cam = stack.enter_context(gh.explainer(name, model, case.layer))
            raw, expected = cam(images, target=target).raw, row.rule(activation, gradient)
            assert isinstance(raw, Tensor)  # one layer was named
            differences[name] = float((raw - expected).abs().max() / expected.abs().max())
            if not differences[name] <= EXACT:
                apart = f"{differences[name]:.1e}"
                raise SystemExit(f"{case}: {name} is off by {apart}; nothing is timed.")
            runs[name] = lambda cam=cam: cam(images, target=target).maps  # type: ignore[misc]
        ordered = {"gradcam": runs.pop("gradcam"), **runs}
        return _timed(case, ordered, 5 if quick else 31, differences)


def score_memory(quick: bool) -> Iterator[Memory]:
    """Each way's peak in a Score-CAM, in a process of its own."""
    case = Case("resnet18" if quick else "resnet50", "layer4", 2 if quick else 8)
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
    for way in SCORE_WAYS:
        command = [sys.executable, __file__, way, case.network, case.layer, str(case.batch)]
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout
        yield Memory(case, way, **json.loads(answer))


class _EnoughError(Exception):
    """The network ran often enough."""


def main() -> None:
    way, network, layer, batch = sys.argv[1:]
    __import__(LIBRARIES[way])
    imports = status("VmRSS")
    case = Case(network, layer, int(batch))
    model, images = case.build(), case.images()
    calls = 0

    def count(module: nn.Module, args: object) -> None:
        nonlocal calls
        calls += 1
        if calls > _CALLS:
            raise _EnoughError

    model.register_forward_pre_hook(count)
    ended = False
    try:
        with opened("ScoreCAM", way, model, layer) as explain:
            explain(images, list(range(case.batch)))
    except _EnoughError:
        ended = True
    if not ended:
        raise SystemExit(f"{case}: {way} needed {calls} calls only.")
    print(json.dumps({"peak": status("VmHWM"), "imports": imports}))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
