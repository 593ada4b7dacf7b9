"""Kill the command at random moments, let it go on, and compare with a run that nobody disturbed.

    python scripts/kills.py --kills 200 [--seed 0]

Each round is one folder of results: the command is killed (SIGKILL) a few times, also with other
pictures or options in between, then one of its readers is, and then it runs to its end. Records and
overlays must be those of undisturbed runs, up to rounding, and nothing half-written or hidden may
be left. The processes are forked from one that has imported everything already, so that mostly
there is something to kill.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import random
import signal
import tempfile
import time
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

import gradcam_hooks.apps.report  # noqa: F401  (for the processes that are forked)
from gradcam_hooks.apps.cli import app
from gradcam_hooks.models import load_model

NET = """
import torch
from torch import nn

def build(num_classes=4):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(6, num_classes),
    )
"""


def started(folder: str, out: str, target: int, workers: int = 0) -> int:
    """The command in a process of its own."""
    child = os.fork()
    if child:
        return child
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    words = (
        f"explain {folder} --model net.py:build --layer 0 --size 64 --out {out} --batch-size 3 "
        f"--format png --workers {workers}"
    )
    try:
        app([*words.split(), "--target", str(target)], standalone_mode=False)
        os._exit(0)
    except SystemExit as end:
        os._exit(int(end.code or 0))
    except BaseException:
        os._exit(70)


def run(folder: str, out: str, target: int, kill_after: float | None = None) -> int:
    """Its status, the signal's negative where it was killed."""
    child = started(folder, out, target)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run_without_a_reader(folder: str, out: str, target: int, kill_after: float) -> int:
    """How many of its worker processes were killed; the command itself goes on, and ends."""
    child = started(folder, out, target, workers=2)
    time.sleep(kill_after)
    own = Path(f"/proc/{child}/task/{child}/children")
    readers = own.read_text().split() if own.exists() else []
    for reader in readers[:1]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(reader), signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 1), status
    return len(readers[:1])


State: TypeAlias = "dict[tuple[str, str], tuple[dict[str, object], npt.NDArray[np.int16]]]"
"""By the run and the picture."""


def homes(out: Path) -> list[Path]:
    """The folder, and those in it of runs with other options."""
    return [out, *sorted(out.glob("run-*"))]


def state(out: Path) -> State:
    """Of each picture in each run the record and the pixels of the overlay."""
    found: State = {}
    for home in homes(out):
        for line in (home / "results.jsonl").read_text().splitlines():
            record = json.loads(line)
            overlay = home / record["overlay"]
            card = home / record["overlay"].replace("overlays", "maps", 1)
            sizes = [overlay.stat().st_size, card.with_suffix(".json").stat().st_size]
            assert sizes == record["sizes"], f"another file than that of its record: {record}"
            key = record["run"], "/".join(Path(record["place"]).parts[-2:])
            assert key not in found, f"a picture twice: {record}"
            with Image.open(overlay) as image:
                found[key] = record, np.asarray(image, dtype=np.int16)
    return found


def alike(one: object, other: object) -> bool:
    """Whether two facts are the same up to rounding: a killed run's chunks are others."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-6)
    return one == other


def check(out: Path, wanted: State) -> None:
    """As undisturbed runs leave it, and nothing else there."""
    found = state(out)
    assert found.keys() == wanted.keys(), found.keys() ^ wanted.keys()
    for key, (record, pixels) in found.items():
        same, drawn = wanted[key]
        odd = {name for name in record if not alike(record[name], same[name])}
        odd -= {"overlay", "sizes", "place"}  # which of them came first has the folder itself
        assert not odd, (out, key, odd)
        assert np.abs(pixels - drawn).max() <= 2, (out, key, "another overlay")
    inner = homes(out)[1:]
    for home in homes(out):
        files = [path for path in home.rglob("*") if path.is_file()]
        if home == out:
            files = [path for path in files if not any(one in path.parents for one in inner)]
        there = {path.relative_to(home).as_posix() for path in files}
        made = json.loads((home / ".gradcam_hooks" / "made.json").read_text())["made"]
        assert there == {*made, ".gradcam_hooks/made.json"}, there ^ {*made}
        assert (home / "report.html").read_text(encoding="utf-8").rstrip().endswith("</html>")


RUNS = (("cats", 1), ("dogs", 2), ("cats", 3))
"""Folder and class of each run; all name one folder of results."""


def main() -> None:
    """Kill as often as is asked, and say what came of it."""
    parser = argparse.ArgumentParser(description="Kill the command at random moments.")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    chance, pixels = random.Random(asked.seed), np.random.default_rng(0)
    os.chdir(tempfile.mkdtemp(prefix="kills_"))
    Path("net.py").write_text(NET)
    load_model("net.py:build")
    for name, count in (("cats", 12), ("dogs", 6)):
        Path(name).mkdir()
        for i in range(count):
            image = pixels.integers(0, 255, (180, 240, 3), dtype=np.uint8)
            Image.fromarray(image).save(f"{name}/{i}.png")
    begun = time.monotonic()
    assert all(run(folder, "alone", target) == 0 for folder, target in RUNS)
    length = (time.monotonic() - begun) / len(RUNS)
    wanted = state(Path("alone"))
    kills = late = rounds = readers = 0
    while kills < asked.kills:
        out = f"out{rounds}"
        for _ in range(chance.randint(2, 7)):
            words = chance.choice([RUNS[0], *RUNS])
            status = run(words[0], out, words[1], chance.uniform(0, 1.2 * length))
            killed = status == -signal.SIGKILL
            kills += killed
            late += not killed
        readers += run_without_a_reader("cats", out, 1, chance.uniform(0, length))
        assert all(run(folder, out, target) == 0 for folder, target in RUNS)
        check(Path(out), wanted)
        rounds += 1
        print(
            f"{kills} kills in {rounds} rounds, {late} too late, and {readers} of readers; "
            "nothing lost, nothing left"
        )


if __name__ == "__main__":
    main()
