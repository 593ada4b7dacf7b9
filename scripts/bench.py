"""Right and wrong layers, time and memory, of this library beside others: ``scripts/bench --help``.

Every number comes after a check that the maps agree. Seconds are shown and never asserted; what
is compared are ratios, measured side by side. Reading the tables is the reader's matter: this
file only measures through its neighbours and prints.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from bench_layers import Count, count_layers, total
from bench_price import CASES, LARGE, Memory, Time, classes, memory, times
from bench_ways import PLAIN, RAW
from rich.console import Console
from rich.table import Table

OURS = "gradcam_hooks"
CONSOLE = Console()


def layers_section(quick: bool) -> object:
    """Right, wrong and failing layers of each way."""
    counts = []
    with CONSOLE.status("networks: 0 done") as status:
        for count in count_layers(2 if quick else None, os.cpu_count() or 1):
            counts.append(count)
            status.update(f"networks: {len(counts)} done, {count.network} the last")
    counts.sort(key=lambda count: count.network)
    show_layers(counts)
    return counts


def show_layers(counts: list[Count]) -> None:
    """How many are right in each network, and what became of the others in all of them."""
    table = Table(
        "network",
        "layers",
        *RAW,
        title="Layers that are right, by the gradient of zeros added to their output",
        padding=(0, 0),
    )
    table.columns[0].no_wrap = True
    for count in counts:
        right = (str(verdicts.right) for verdicts in count.ways.values())
        table.add_row(count.network, str(count.layers), *right)
    CONSOLE.print(table)
    whole = total(counts)
    summary = Table("way", "right", "wrong", "fails", title=f"All {whole.layers} layers")
    for way, verdicts in whole.ways.items():
        numbers = map(str, (verdicts.right, verdicts.wrong, verdicts.fails))
        summary.add_row(way, *numbers, style="bold" if way == OURS else None)
    CONSOLE.print(summary)
    again = whole.repeated
    CONSOLE.print(
        f"These run once in a forward pass. Of layers that run several times, {OURS} explained "
        f"{again.right} calls rightly and {again.wrong} wrongly. grad-cam and torchcam were handed "
        "a function that moves channels where they are last."
    )


def time_section(quick: bool) -> object:
    """Time over plain inference, interleaved."""
    table = Table("way", "ms", "fastest ms", "x plain", "maps, to ours", title="Time of one call")
    measured: list[Time] = []
    for case in CASES:
        with CONSOLE.status(str(case)):
            found = times(case, 3 if quick else max(7, 31 // case.batch))
        table.add_row(str(case), style="italic")
        for one in found:
            agrees = "another tensor" if one.way in case.wrong else "agree"
            table.add_row(
                one.way,
                f"{one.seconds * 1e3:.1f}",
                f"{one.fastest * 1e3:.1f}",
                f"{one.ratio:.2f}",
                "" if one.way in (PLAIN, OURS) else f"{agrees} ({one.difference:.0e})",
                style="bold" if one.way == OURS else None,
            )
        table.add_section()
        measured += found
    CONSOLE.print(table)
    CONSOLE.print(
        f"Ratios are medians over rounds; {torch.get_num_threads()} threads. Up to 1.10 is the aim "
        "for a last block. captum's and torchcam's maps are resized and scaled by the benchmark."
    )
    return measured


def memory_section(quick: bool) -> object:
    """Peak memory over plain inference, a process for each way."""
    table = Table(
        "way",
        "peak MiB",
        "x plain",
        "without imports MiB",
        "x plain",
        title="Peak memory, each way in a process of its own",
    )
    measured: list[Memory] = []
    for case in (CASES[0], LARGE) if quick else (*CASES, LARGE):
        with CONSOLE.status(str(case)):
            found = list(memory(case))
        plain = next(one for one in found if one.way == PLAIN)
        table.add_row(str(case), style="italic")
        for one in found:
            own = one.peak - one.imports
            table.add_row(
                one.way,
                f"{one.peak / 2**20:.0f}",
                f"{one.peak / plain.peak:.2f}",
                f"{own / 2**20:.0f}",
                f"{own / (plain.peak - plain.imports):.2f}",
                style="bold" if one.way == OURS else None,
            )
        table.add_section()
        measured += found
    CONSOLE.print(table)
    CONSOLE.print("Up to 1.05 of the whole process is the aim at batch 64.")
    return measured


def classes_section(quick: bool) -> object:
    """All classes of one image over one plain forward pass."""
    with CONSOLE.status("all classes"):
        found = classes(3 if quick else 11)
    CONSOLE.print(
        f"{found.case}: the maps of all {found.count} classes take {found.seconds * 1e3:.0f} ms, "
        f"[bold]{found.ratio:.2f}[/bold] times a plain forward pass of {found.plain * 1e3:.0f} ms. "
        "Up to 4 is the aim."
    )
    return found


SECTIONS: dict[str, Callable[[bool], object]] = {
    "layers": layers_section,
    "time": time_section,
    "memory": memory_section,
    "classes": classes_section,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure this library beside others: which layers are right, and the price.",
    )
    parser.add_argument(
        "sections",
        nargs="*",
        metavar="SECTION",
        help=f"{', '.join(SECTIONS)}, or price for the last three; all by default",
    )
    parser.add_argument("--quick", action="store_true", help="few rounds, two layers of each kind")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers to a file too")
    options = parser.parse_args()
    asked: list[str] = []
    for section in options.sections or list(SECTIONS):
        asked += ["time", "memory", "classes"] if section == "price" else [section]
    for section in asked:
        if section not in SECTIONS:
            parser.error(f"no section {section!r}; there are {', '.join(SECTIONS)} and price")
    results: dict[str, object] = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.processor() or platform.machine(),
    }
    for section in asked:
        results[section] = SECTIONS[section](options.quick)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2, default=asdict) + "\n")


if __name__ == "__main__":
    main()
