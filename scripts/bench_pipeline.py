"""A folder through the command's loop, over plain batched inference on the same pictures.

Both sides read and prepare the same files with the same readers; the one runs the network alone,
the other explains, draws, writes records and the report. They alternate in one process, part by
part, after it was seen that they say the same. Where other work shares the machine the processor's
time tells more than the clock's: both are given.
"""

from __future__ import annotations

import importlib
import itertools
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import nn

import gradcam_hooks as gh
from gradcam_hooks.apps.batch import Folder, Record
from gradcam_hooks.apps.batch.drawn import draw
from gradcam_hooks.apps.batch.job import Job
from gradcam_hooks.apps.batch.plan import plan_of
from gradcam_hooks.apps.batch.reading import Reading
from gradcam_hooks.apps.reported.running import running
from gradcam_hooks.defaults import OVERLAY_FORMAT, OVERLAY_SIDE
from gradcam_hooks.results.drawing import Style
from gradcam_hooks.stream.feed import auto_workers, fed

SIDES = (480, 640, 800, 1024, 1280, 1600, 2048)
"""The photographs' longer sides, in turn."""

PART = 400
"""Photographs after which the other side has its turn."""

TOLERANCE = 1e-3
BATCH = 16

_T = TypeVar("_T")


@dataclass
class Spent:
    """Seconds by the clock, and of all processors."""

    wall: float = 0.0
    processor: float = 0.0


@dataclass(frozen=True)
class Pipeline:
    """What both sides took, and each stage alone, in processor seconds for a picture."""

    pictures: int
    workers: int
    threads: int
    plain: Spent
    ours: Spent
    stages: dict[str, float]

    @property
    def throughput(self) -> float:
        """Ours over plain inference, by the clock."""
        return self.plain.wall / self.ours.wall

    @property
    def work(self) -> float:
        """The same by the processors' time."""
        return self.plain.processor / self.ours.processor


def photographs(folder: Path, count: int) -> list[Path]:
    """Photographs of mixed sizes, cut at random out of those that scikit-image and -learn ship."""
    shipped: Any = importlib.import_module("skimage.data")
    samples: Any = importlib.import_module("sklearn.datasets")
    sources = [shipped.astronaut(), shipped.chelsea(), shipped.coffee(), shipped.rocket()]
    sources += samples.load_sample_images().images
    chance = np.random.default_rng(0)
    paths = []
    for number in range(count):
        image = Image.fromarray(sources[number % len(sources)])
        near, far = chance.uniform(0, 0.25, 2), chance.uniform(0.75, 1, 2)
        image = image.crop((*(near * image.size).astype(int), *(far * image.size).astype(int)))
        scale = SIDES[number % len(SIDES)] / max(image.size)
        size = (round(image.width * scale), round(image.height * scale))
        paths.append(folder / f"{number:05d}.jpg")
        image.resize(size, Image.Resampling.BICUBIC).save(paths[-1], quality=90)
    return paths


@contextmanager
def counted(spent: Spent) -> Iterator[None]:
    start, before = time.perf_counter(), _processors()
    yield
    spent.wall += time.perf_counter() - start
    spent.processor += _processors() - before


def _processors() -> float:
    both = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in both)


def inferred(job: Job, paths: Sequence[Path], workers: int) -> list[float]:
    """Plain batched inference: the highest logit of each picture."""
    reading, model = job.reading(), job.loaded.model
    tasks = plan_of(paths, Folder(Path("nowhere")), {}).tasks
    stream = fed(tasks, replace(reading, side=None), ahead=2 * BATCH, workers=workers)
    found: list[float] = []
    with torch.inference_mode():
        while chunk := [one for _, one in itertools.islice(stream, BATCH)]:
            pixels = [one.pixels for one in chunk if not isinstance(one, Exception)]
            found += model(torch.stack(pixels)).amax(1).tolist()
    return found


def explained(job: Job, paths: Sequence[Path], workers: int, out: Path) -> list[Record]:
    """The command's loop, with its report."""
    with running({"": job}, paths, out) as run:
        found = run.go("", BATCH, workers=workers)
        run.write({"": found})
    return found


def pipeline(count: int) -> Pipeline:
    """Both sides, in parts that alternate."""
    torch.manual_seed(0)
    model: nn.Module = torchvision.models.resnet50().eval()
    loaded = gh.LoadedModel(model, "resnet50", "random", None, gh.Preprocess(fit="crop"))
    job = Job(
        loaded,
        image_format=OVERLAY_FORMAT,
        max_side=OVERLAY_SIDE,
        style=Style(caption=True),
    )
    plain, ours, part = Spent(), Spent(), min(count, PART)
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (home / "photos").mkdir()
        paths = photographs(home / "photos", count)
        workers = auto_workers(count)
        agree(job, paths[:BATCH], home / "warm")
        stages = staged(job, paths[: 2 * BATCH], home / "stages")
        for number, start in enumerate(range(0, count, part)):
            some = paths[start : start + part]
            with counted(plain):
                inferred(job, some, workers)
            with counted(ours):
                explained(job, some, workers, home / f"out{number}")
    return Pipeline(count, workers, torch.get_num_threads(), plain, ours, stages)


def agree(job: Job, paths: Sequence[Path], out: Path) -> None:
    logits, records = inferred(job, paths, 0), explained(job, paths, 0, out)
    scores = [float(str(record.score)) for record in records]
    difference = max(abs(one - other) for one, other in zip(logits, scores, strict=True))
    if not difference <= TOLERANCE * max(map(abs, logits)):
        raise SystemExit(f"scores differ by {difference:.1e}; nothing is timed.")


def staged(job: Job, paths: Sequence[Path], out: Path) -> dict[str, float]:
    """Processor seconds for a picture, stage by stage and one after the other."""
    stages: dict[str, float] = {}

    def stage(name: str, work: Callable[[], _T]) -> _T:
        start = time.process_time()
        found = work()
        stages[name] = (time.process_time() - start) / len(paths)
        return found

    folder, reading = Folder(out), job.reading()
    tasks = plan_of(paths, folder, {}, job.suffix).tasks
    whole: Reading = replace(reading, side=None)
    stage("read and prepare", lambda: [whole(task) for task in tasks])
    ready = [reading(task) for task in tasks]
    batches = [
        torch.stack([one.pixels for one in ready[start : start + BATCH]])
        for start in range(0, len(ready), BATCH)
    ]
    with torch.inference_mode():
        stage("inference", lambda: [job.loaded.model(batch) for batch in batches])
    with job.explainer() as explainer:
        results = [one for batch in batches for one in explainer(batch)]
        stage("explanation", lambda: [explainer(batch) for batch in batches])
    with folder.held():
        drawn = [
            (task, one.picture.image, result.on((one.picture,)))
            for task, one, result in zip(tasks, ready, results, strict=True)
        ]
        stage("draw and write", lambda: [draw(folder.write, *one, job.style) for one in drawn])
    return stages
