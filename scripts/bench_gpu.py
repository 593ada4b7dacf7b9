"""What the card says, in one command and one JSON file: ``scripts/bench_gpu --help``.

The tests marked ``cuda``; the time of a last block's map over plain inference, and its peak memory
by the device's own counters; Score-CAM and Ablation-CAM; a thousand classes; a pipeline from
memory; beside the peers that are there. Maps are compared with plain autograd before any number.
Needs PyTorch and torchvision alone; what else is missing is passed over, and said. On a CPU, where
it is tested, it goes the same way with small networks.

On a card absolute times hold, and are told in milliseconds.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import random
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from bench_gpu_cases import LAYERS, TOKENS, TOLERANCE, Case, Pace, apart
from bench_ways import PLAIN, WAYS, MapFunction, opened
from torch import Tensor, nn

import gradcam_hooks as gh

__all__ = ["Bench", "main"]

ROOT = Path(__file__).resolve().parents[1]
OURS = "gradcam_hooks"
PACKAGES = {"grad-cam": "pytorch_grad_cam", "torchcam": "torchcam", "captum": "captum"}


class Bench:
    """One run: what it is on, how long it may take, and what it has found so far."""

    def __init__(self, device: torch.device, out: Path, seconds: float, rounds: int) -> None:
        self.device, self.out, self.rounds = device, out, rounds
        self.end = time.monotonic() + seconds
        self.found: dict[str, object] = {"passed over": []}

    @property
    def on_card(self) -> bool:
        """Whether there is one."""
        return self.device.type == "cuda"

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.on_card:
            torch.cuda.synchronize(self.device)

    def seconds(self, work: Callable[[], object]) -> float:
        """Of one call, done when it returns."""
        self.wait()
        start = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - start

    def tell(self, part: str, value: object) -> None:
        """Keep it, on the disk as well: whatever ends this run, what was found is there."""
        self.found[part] = value
        text = json.dumps(self.found, indent=1, default=asdict)
        self.out.write_text(text + "\n", encoding="utf-8")

    def passed_over(self, what: str) -> None:
        """Say and keep what was not measured."""
        print(f"passed over: {what}", flush=True)
        left = self.found["passed over"]
        assert isinstance(left, list)
        self.tell("passed over", [*left, what])

    def part(self, name: str, work: Callable[[], object]) -> None:
        """One part of it, if there is time; a fault in it is told and ends nothing else."""
        if time.monotonic() > self.end:
            self.passed_over(f"{name}: out of time")
            return
        start = time.monotonic()
        try:
            self.tell(name, work())
        except Exception as error:
            self.passed_over(f"{name}: {type(error).__name__}: {error}")
        print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)

    # --- the parts --------------------------------------------------------------------------------

    def tests(self) -> object:
        """The tests that need a card, in a process of their own."""
        if importlib.util.find_spec("pytest") is None:
            raise ModuleNotFoundError("pytest is not there")
        words = ["-m", "pytest", "-q", "-m", "cuda", "-p", "no:cacheprovider", "tests"]
        files = ["--continue-on-collection-errors", "-W", "ignore"]
        left = max(self.end - time.monotonic(), 30)
        done = subprocess.run(
            [sys.executable, *words, *files],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=left,
        )
        lines = done.stdout.strip().splitlines()
        return {"status": done.returncode, "last": lines[-1] if lines else done.stderr[-500:]}

    def price(self, cases: Sequence[Case]) -> list[Pace]:
        """Each way's time and memory, case by case, for as long as there is time."""
        paces: list[Pace] = []
        for case in cases:
            if time.monotonic() > self.end:
                self.passed_over(f"{case}: out of time")
            elif case.network in TOKENS and importlib.util.find_spec("einops") is None:
                self.passed_over(f"{case}: its axes are put in order by einops, which is not there")
            else:
                paces += self.guarded(case)
            self.tell("price", paces)
        return paces

    def guarded(self, case: Case) -> list[Pace]:
        """`paces`; none where memory runs out or the maps are apart, which is said."""
        try:
            return self.paces(case)
        except (RuntimeError, ValueError, AssertionError) as error:
            self.passed_over(f"{case}: {type(error).__name__}: {str(error).splitlines()[0]}")
            return []

    def paces(self, case: Case) -> list[Pace]:
        """Each way's, in rounds, in a new order each."""
        model, images = case.build(self.device), case.images(self.device)
        classes = [index % 7 for index in range(case.batch)]
        if case.kind == "float32":
            far = apart(model, case, images, classes)
            assert far <= TOLERANCE, f"maps are {far:.1e} from plain autograd's"
        spent: dict[str, list[float]] = {}
        peaks: dict[str, int] = {}
        held = self.memory()
        for way in self.ways(case):
            with opened(way, model, case.layer) as make:
                run = calling(make, images, classes)
                run()
                peaks[way] = self.peak(run)
        order = list(peaks)
        for number in range(self.rounds):
            random.Random(number).shuffle(order)
            for way in order:  # each opened for itself: no way pays for another's hooks
                with opened(way, model, case.layer) as make:
                    run = calling(make, images, classes)
                    run()
                    spent.setdefault(way, []).append(self.seconds(run))
        return [
            Pace(
                case,
                way,
                statistics.median(spent[way]) * 1e3,
                statistics.median(
                    one / plain for one, plain in zip(spent[way], spent[PLAIN], strict=True)
                ),
                peaks[way] - held if self.on_card else None,
                peaks[way] / peaks[PLAIN] if self.on_card else None,
            )
            for way in spent
        ]

    def ways(self, case: Case) -> Iterator[str]:
        """Those that are installed and make a map of this without code of the user's."""
        for way in WAYS:
            package = PACKAGES.get(way)
            if package is None:
                yield way
            elif importlib.util.find_spec(package) is None:
                if f"{way} is not there" not in str(self.found["passed over"]):
                    self.passed_over(f"{way} is not there")
            elif case.network not in TOKENS and "bf16" not in case.kind:
                yield way  # of tokens they need code of the user's, of bfloat16 they make NumPy's

    def memory(self) -> int:
        """Bytes that the device holds now; 0 on a CPU."""
        return torch.cuda.memory_allocated(self.device) if self.on_card else 0

    def peak(self, run: Callable[[], object]) -> int:
        """Bytes that the device held at most while it ran."""
        if not self.on_card:
            run()
            return 0
        self.wait()
        torch.cuda.reset_peak_memory_stats(self.device)
        run()
        self.wait()
        return torch.cuda.max_memory_allocated(self.device)

    def repeated(self, size: int) -> dict[str, float]:
        """Milliseconds of what runs the network often, and of one thousand classes."""
        case = Case("resnet50", 1, size=size)
        model, images = case.build(self.device), case.images(self.device)
        plain = min(self.seconds(lambda: infer(model, images)) for _ in range(5))
        found = {"plain inference": plain * 1e3}
        for method in ("scorecam", "ablationcam"):
            work = explaining(model, images, case.layer, method=method, target=1)
            found[method] = self.seconds(work) * 1e3
        work = explaining(model, images, case.layer, target=gh.AllClasses())
        work()
        found["1,000 classes"] = min(self.seconds(work) for _ in range(3)) * 1e3
        return found

    def syncs(self, size: int) -> dict[str, int]:
        """How often one call waits for the device, or takes a value from it: plain and ours."""
        from torch.profiler import ProfilerActivity, profile

        case = Case("resnet50", 4, size=size)
        model, images = case.build(self.device), case.images(self.device)
        activities = [ProfilerActivity.CPU]
        activities += [ProfilerActivity.CUDA] if self.on_card else []
        found = {}
        with gh.GradCAM(model, case.layer) as cam:

            def ours() -> Tensor:
                return cam(images, target=[1] * 4).maps

            for way, run in ((PLAIN, lambda: infer(model, images)), (OURS, ours)):
                run()  # type: ignore[no-untyped-call]
                with profile(activities=activities) as seen:
                    run()  # type: ignore[no-untyped-call]
                    self.wait()
                for event in seen.key_averages():
                    if event.key in ("aten::_local_scalar_dense", "cudaStreamSynchronize"):
                        found[f"{way}, {event.key}"] = int(event.count)
            found["maps on the device"] = int(ours().device == images.device)
        return found

    def pipeline(self, count: int, batch: int, size: int) -> dict[str, float]:
        """Pictures a second from memory: plain inference, and explained."""
        case = Case("resnet50", batch, size=size)
        model = case.build(self.device)
        batches = [case.images(torch.device("cpu")) for _ in range(max(count // batch, 1))]
        if self.on_card:
            batches = [one.pin_memory() for one in batches]

        def plain() -> None:
            for one in batches:
                infer(model, one.to(self.device, non_blocking=True))

        def ours() -> None:
            with gh.GradCAM(model, case.layer) as cam:
                for one in batches:
                    cam(one.to(self.device, non_blocking=True))

        total = len(batches) * batch
        found = {}
        for name, work in ((PLAIN, plain), (OURS, ours)):
            work()
            found[f"{name}, pictures a second"] = total / self.seconds(work)
        return found


def calling(make: MapFunction, images: Tensor, classes: list[int]) -> Callable[[], object]:
    """A way's call, with nothing left to give."""

    def call() -> object:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return make(images, classes)

    return call


def explaining(
    model: nn.Module, images: Tensor, layer: str, **options: object
) -> Callable[[], object]:
    """A call of `gh.explain`, with nothing left to give."""
    return lambda: gh.explain(model, images, layer, **options)  # type: ignore[arg-type]


def infer(model: nn.Module, images: Tensor) -> Tensor:
    """What the network says."""
    with torch.inference_mode():
        logits: Tensor = model(images)
    return logits


def main(words: Sequence[str] | None = None) -> int:
    """0: done, whatever was passed over; the file says it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--out", type=Path, default=Path("bench_gpu.json"))
    parser.add_argument("--seconds", type=float, default=330, help="after which nothing is begun")
    parser.add_argument("--quick", action="store_true", help="small pictures and few rounds")
    asked = parser.parse_args(words)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    small = asked.quick or device.type == "cpu"
    bench = Bench(device, asked.out, asked.seconds, 3 if small else 15)
    name = torch.cuda.get_device_name(device) if bench.on_card else "none: measured on the CPU"
    bench.tell("card", name)
    bench.tell("torch", {"torch": torch.__version__, "python": platform.python_version()})
    size, batches = (32, (1, 2)) if small else (224, (1, 16, 64))
    kinds = ("float32", "bf16") if small else ("float32", "bf16", "float32 channels-last")
    cases = [Case(one, batch, size=size) for batch in batches for one in LAYERS]
    cases = [replace(case, kind=kind) for kind in kinds for case in cases]
    if bench.on_card:
        bench.part("tests", bench.tests)
    else:
        bench.passed_over("the tests marked cuda: no card")
    bench.part("price", lambda: bench.price(cases[:4] if asked.quick else cases))
    bench.part("repeated", lambda: bench.repeated(size))
    bench.part("waits", lambda: bench.syncs(size))
    bench.part("pipeline", lambda: bench.pipeline(8 if small else 2048, 4 if small else 64, size))
    for pace in bench.found.get("price", []):  # type: ignore[attr-defined]
        peak = "" if pace.peak_ratio is None else f", peak {pace.peak_ratio:.3f}"
        print(f"{pace.case}, {pace.way}: {pace.ms:.2f} ms, {pace.ratio:.3f}{peak}")
    for part in ("tests", "repeated", "waits", "pipeline"):
        print(f"{part}: {bench.found.get(part)}")
    print(f"written: {asked.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
