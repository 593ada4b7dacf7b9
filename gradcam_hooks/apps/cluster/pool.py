"""A pool: workers of a cluster, each made once, that do the same with batches of things.

What a worker is made of, and what it does, is said by whoever asks; it is made in the folder in
which the command was called. Knows Ray Data and tables of Arrow; no picture and no network.
"""

from __future__ import annotations

import importlib
import logging
import math
import os
import pickle
import platform
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from gradcam_hooks.apps.cluster.machines import check_free, connected
from gradcam_hooks.errors import DeviceError, GradCamHooksError, ModelError
from gradcam_hooks.stream.feed import pickled

__all__ = ["Do", "Make", "Pool", "Worker", "check_device", "found_in"]

Do: TypeAlias = Callable[[Sequence[Any]], Sequence[Any]]
"""What a worker does with things: something comes of each."""

Make: TypeAlias = Callable[[str], Do]
"""Makes what a worker does, for a device; it is sent to the workers."""

_BLOCKS = 2_000
"""Blocks at most that the things of a run are in: what is under way is one for each worker."""


def check_device(word: str) -> None:
    """See that the word of ``--device`` is one for workers, to whom Ray gives their GPUs.

    Raises:
        DeviceError: it is not.
    """
    if word not in ("auto", "cpu", "cuda"):
        raise DeviceError(
            "with --cluster each worker has the GPU that Ray gives it: --device is auto, cpu or "
            f"cuda; got {word!r}"
        )


@dataclass(frozen=True)
class Pool:
    """The workers of a cluster.

    Attributes:
        address: of the cluster, as `check_address` takes it.
        device: "auto", "cpu" or "cuda".
        workers: how many there are; None for as many as there is room and use for.
    """

    address: str
    device: str = "auto"
    workers: int | None = None

    def map(
        self, make: Make, things: Sequence[Any], batch_size: int
    ) -> Generator[list[tuple[int, Any]], None, None]:
        """What comes of things, by their numbers, in the order in which workers are done.

        Raises:
            ImportError, InputError: Ray is not there, the cluster cannot be joined, or too little
                of it is free.
            GradCamHooksError: what a worker met, which is no thing's fault.
        """
        if not things:
            return
        with connected(self.address) as ray, _silent(ray):
            gpus = self._gpus(ray)
            batches = math.ceil(len(things) / batch_size)
            workers = self.workers or self._room(ray, gpus, batches)
            check_free(ray, workers, workers * gpus, 0, "--workers")
            size = batch_size * math.ceil(batches / _BLOCKS)
            rows = [{"number": i, "thing": pickle.dumps(thing)} for i, thing in enumerate(things)]
            found = ray.data.from_items(rows, override_num_blocks=math.ceil(len(things) / size))
            found = found.map_batches(
                Worker,
                fn_constructor_args=(make, "cuda" if gpus else "cpu", Path.cwd()),
                batch_size=batch_size,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(size=workers),
                num_cpus=1,
                num_gpus=gpus or None,
                udf_modifying_row_count=False,
            )
            blocks = found.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
            for block in blocks:
                yield found_in(block)

    def _gpus(self, ray: Any) -> int:
        """GPUs of a worker.

        Raises:
            DeviceError: there are none, and they were asked for.
        """
        there = ray.cluster_resources().get("GPU", 0)
        if self.device == "cuda" and not there:
            raise DeviceError("--device cuda, and no machine of the cluster has a GPU")
        return int(self.device != "cpu" and there > 0)

    def _room(self, ray: Any, gpus: int, batches: int) -> int:
        """How many workers there are room and use for; one where there is no room."""
        free = ray.available_resources()
        most = int(free.get("GPU" if gpus else "CPU", 0))
        return max(1, min(batches, most if gpus else most - 1))


class Worker:
    """What is done with batches of things, made once; what Ray calls a callable class."""

    def __init__(self, make: Make, device: str, home: Path) -> None:
        self._do: Do | Exception
        try:
            _go(home)
            self._do = make(device)
        except (GradCamHooksError, ImportError, OSError) as error:  # which the user can mend
            self._do = error

    def __call__(self, rows: Any) -> Any:
        """The rows, a table of Arrow, with what came of each in the place of the thing."""
        pa: Any = importlib.import_module("pyarrow")  # which Ray brings, without types
        things = [pickle.loads(one) for one in rows.column("thing").to_pylist()]
        try:
            if isinstance(self._do, Exception):
                raise self._do
            found = [pickled(one) for one in self._do(things)]
        except (GradCamHooksError, ImportError) as error:  # no thing's fault
            found = [pickled(error)] * len(things)
        return rows.drop_columns(["thing"]).append_column("found", pa.array(found, pa.binary()))


def _go(home: Path) -> None:
    try:
        os.chdir(home)
    except OSError as error:
        raise ModelError(
            f"on '{platform.node()}' there is no folder '{home}', in which the command was "
            "called: all machines need the same folders under the same paths"
        ) from error


def found_in(rows: Any) -> list[tuple[int, Any]]:
    """What came of things, by their numbers, of the rows that a worker has given back.

    Raises:
        GradCamHooksError: what it met, which is no thing's fault.
    """
    found = []
    numbers, blobs = (rows.column(name).to_pylist() for name in ("number", "found"))
    for number, blob in zip(numbers, blobs, strict=True):
        one = pickle.loads(blob)
        if isinstance(one, Exception):
            raise one
        found.append((number, one))
    return found


@contextmanager
def _silent(ray: Any) -> Iterator[None]:
    """Ray Data without its bars and lines, which the command has of its own."""
    context, logger = ray.data.DataContext.get_current(), logging.getLogger("ray.data")
    before = context.enable_progress_bars, logger.level
    context.enable_progress_bars = False
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        context.enable_progress_bars = before[0]
        logger.setLevel(before[1])
