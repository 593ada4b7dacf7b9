"""This library beside others, in right layers, networks, time and memory: ``scripts/bench --help``.

Every number comes after a check that the maps agree. Seconds are shown and never asserted; what
is compared are ratios, measured side by side. Reading the tables is the reader's matter: this
file only measures through its neighbours and prints.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import bench_gpu
import torch
from bench_audit import FOUND, OBEYED, bundled, by_kind, count_audits
from bench_cluster import cluster_section
from bench_layers import Count, count_layers, total
from bench_networks import NETWORKS, OURS, PEERS, Row, count_networks
from bench_pipeline import pipeline
from bench_price import CASES, LARGE, Memory, Time, classes, memory, times
from bench_probe import NETWORKS as READ
from bench_probe import count_readings, read_all
from bench_score import Pace, ablation, rules, score, score_memory
from bench_watermark import KINDS, watermark
from bench_ways import PLAIN, RAW
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gradcam_hooks.auditing.statistics import interval

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


def networks_section(quick: bool) -> object:
    """Which networks just work, and with whom."""
    names = list(NETWORKS)[::4] if quick else list(NETWORKS)
    rows = []
    with CONSOLE.status("networks: 0 done") as status:
        for row in count_networks(names, os.cpu_count() or 1):
            rows.append(row)
            status.update(f"networks: {len(rows)} of {len(names)} done, {row.network} the last")
    rows.sort(key=lambda row: names.index(row.network))
    show_networks(rows)
    return rows


def show_networks(rows: list[Row]) -> None:
    """What came of each network, and on how many each way works."""
    table = Table(
        "network",
        OURS,
        *PEERS,
        title="The model, its inputs and nothing else",
        padding=(0, 0),
    )
    table.columns[0].no_wrap = True
    colours = {"right": "green", "blank": "yellow", "wrong": "red", "crash": "red"}
    examples: dict[str, str] = {}

    def cell(way: str, row: Row) -> str:
        outcome = row.ways[way]
        if outcome.reason:
            told = f"{row.network}: {outcome.reason}"
            examples.setdefault(f"{way}, {outcome.word}, {outcome.kind}", told)
        return f"[{colours[outcome.word]}]{outcome.word}[/] {escape(outcome.kind)}".rstrip()

    for row in rows:
        table.add_row(row.network, *(cell(way, row) for way in (OURS, *PEERS)))
    CONSOLE.print(table)
    for fault, example in examples.items():
        CONSOLE.print(f"{fault}, as on {example}", markup=False, highlight=False)
    summary = Table("way", "right", "blank", "wrong", "crash", "right, with logits picked for it")
    for way in (OURS, *PEERS):
        words = Counter(row.ways[way].word for row in rows)
        picked = str(sum(row.right(way, wrapped=True) for row in rows)) if way in PEERS else ""
        numbers = [str(words[word]) for word in ("right", "blank", "wrong", "crash")]
        summary.add_row(way, *numbers, picked, style="bold" if way == OURS else None)
    summary.title = f"All {len(rows)} networks"
    CONSOLE.print(summary)
    totals = ", ".join(f"{way} {sum(row.right(way) for row in rows)}" for way in (OURS, *PEERS))
    CONSOLE.print(f"Of {len(rows)} networks these just work: {totals}.", style="bold")
    CONSOLE.print(
        "grad-cam and captum cannot choose a layer: they got ours, or the module that made its "
        "tensor; torchcam was told the input's shape. Where a network returns more than a tensor, "
        "the last column counts the peers again, with a wrapper around it that returns the logits."
    )


def probe_section(quick: bool) -> object:
    """What is read of layers whose axes are known, with nothing said."""
    names, every = READ[::4] if quick else READ, []
    with CONSOLE.status("readings: 0 networks done") as status:
        for number, readings in enumerate(read_all(names, os.cpu_count() or 1), 1):
            every += readings
            status.update(f"readings: {number} of {len(names)} networks done")
    found = count_readings(every)
    for one in (one for one in every if one.map and one.word == "refused"):
        CONSOLE.print(f"refused: {one.net}, {one.layer}, {one.truth}", markup=False, style="dim")
    for wrong in found.wrong:
        CONSOLE.print(f"silently wrong: {wrong}", markup=False, style="red")
    read = found.rules + found.verified + found.probe
    CONSOLE.print(
        f"Of {found.maps} layers with a map, in {len(names)} networks, {found.right} are read "
        f"right ({found.right / found.maps:.1%}), {found.refused} refused; with {found.others} "
        f"without one, {len(found.wrong)} are silently wrong. Of {read} readings, rules alone made "
        f"{found.rules} ({found.rules / read:.0%}), {found.verified} more were confirmed by the "
        f"network, which read {found.probe} itself, in {found.passes} passes at most.",
        style="bold",
    )
    return found


def score_section(quick: bool) -> object:
    """Score-CAM beside others: time, and peak memory of a batch."""
    with CONSOLE.status("Score-CAM"):
        found = score(quick)
    show_paces("Score-CAM", "x ours", found)
    table = Table("way", "peak MiB", "x grad-cam", title="Peak memory of Score-CAM, by process")
    with CONSOLE.status("Score-CAM's memory"):
        peaks = list(score_memory(quick))
    highest = next(one.peak for one in peaks if one.way == "grad-cam")
    for one in peaks:
        style = "bold" if one.way == OURS else None
        table.add_row(one.way, f"{one.peak / 2**20:.0f}", f"{one.peak / highest:.3f}", style=style)
    CONSOLE.print(table)
    CONSOLE.print(
        f"Memory: {peaks[0].case}. No slower than the fastest, and a tenth of grad-cam's memory at "
        "most, are the aims. Each resizes its masks in a way of its own, so maps are alike only."
    )
    return {"time": found, "memory": peaks}


def ablation_section(quick: bool) -> object:
    """Ablation-CAM beside grad-cam's, where the logit is above 0 and the maps are the same."""
    with CONSOLE.status("Ablation-CAM"):
        found = ablation(quick)
    show_paces("Ablation-CAM", "x ours", found)
    CONSOLE.print("100 times is the aim on a resnet50.")
    return found


def methods_section(quick: bool) -> object:
    """Each rule of activation and gradient over Grad-CAM."""
    with CONSOLE.status("methods"):
        found = rules(quick)
    show_paces("Rules of activation and gradient", "x gradcam", found)
    CONSOLE.print("Up to 1.10 is the aim. Methods that run the network several times are left out.")
    return found


def show_paces(title: str, over: str, found: list[Pace]) -> None:
    """A row for each way, over the first."""
    table = Table("way", "ms", "fastest ms", over, "difference", title=f"{title}, {found[0].case}")
    for one in found:
        table.add_row(
            one.way,
            f"{one.seconds * 1e3:.1f}",
            f"{one.fastest * 1e3:.1f}",
            f"{one.ratio:.2f}",
            f"{one.difference:.0e}",
            style="bold" if one is found[0] else None,
        )
    CONSOLE.print(table)


def audit_section(quick: bool) -> object:
    """Shortcuts that were planted, and clean data: what the audit finds, and whom it accuses."""
    shares = (0.05, 0.15) if quick else (0.01, 0.05, 0.15, 0.5)
    found = count_audits(1 if quick else 10, shares, clean=2 if quick else 20)
    heads = ("mark in", "place", "runs", "obeyed in", "found", "of obeyed", "by half", "accused")
    table = Table(*heads, padding=(0, 1))
    for (share, moving), outcomes in by_kind(found).items():
        obeyed = [one for one in outcomes if one.obeys >= OBEYED]
        hits = [one for one in outcomes if one.pure >= FOUND]
        table.add_row(
            f"{share:.0%}",
            ("anywhere" if moving else "fixed") if share else "none",
            str(len(outcomes)),
            str(len(obeyed)) if share else "-",
            _counted(len(hits), len(outcomes)) if share else "-",
            _counted(sum(one in hits for one in obeyed), len(obeyed)) if share else "-",
            str(sum(one.found >= FOUND for one in outcomes)) if share else "-",
            _counted(sum(one.accused > 0 for one in outcomes), len(outcomes)),
        )
    CONSOLE.print(table)
    bundled()
    if importlib.util.find_spec("efficientnet_lite_pytorch"):
        watermark(*((160, KINDS[-1:]) if quick else ()))
    return found


def _counted(hits: int, count: int) -> str:
    """So many of so many, with Wilson's interval of 95 %."""
    low, high = interval(hits, count)
    return f"{hits} of {count} ({low:.0%} to {high:.0%})"


def gpu_section(quick: bool) -> object:
    """What `scripts/bench_gpu` finds, which installs nothing and says on what card."""
    out = Path("bench_gpu.json")  # which git leaves alone
    bench_gpu.main(["--out", str(out), *(["--quick"] if quick else [])])
    return json.loads(out.read_text(encoding="utf-8"))


def pipeline_section(quick: bool) -> object:
    """A folder through the command's loop, over plain inference on the same pictures."""
    with CONSOLE.status("the pipeline"):
        found = pipeline(64 if quick else 2000)
    table = Table("stage", "ms of processors, a picture", title="One after the other")
    for name, seconds in found.stages.items():
        table.add_row(name, f"{seconds * 1e3:.1f}")
    CONSOLE.print(table)
    for name, spent in (("plain inference", found.plain), ("explained", found.ours)):
        CONSOLE.print(
            f"{name}: {found.pictures / spent.wall:.2f} pictures a second, "
            f"{spent.processor / found.pictures * 1e3:.0f} ms of processors for one"
        )
    CONSOLE.print(
        f"{found.pictures} photographs, ResNet-50, {found.workers} workers: "
        f"[bold]{found.throughput:.2f}[/bold] of the throughput of plain inference, "
        f"{found.work:.2f} by the processors' time. 0.9 is the aim, and that drawing and writing "
        "takes a fifth of inference at most."
    )
    return found


SECTIONS: dict[str, Callable[[bool], object]] = {
    "layers": layers_section,
    "networks": networks_section,
    "probe": probe_section,
    "time": time_section,
    "memory": memory_section,
    "classes": classes_section,
    "score": score_section,
    "ablation": ablation_section,
    "methods": methods_section,
    "audit": audit_section,
    "gpu": gpu_section,
    "pipeline": pipeline_section,
    "cluster": cluster_section,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description=(
            "Measure this library beside others: which layers are right, on which networks it just "
            "works, and the price."
        ),
    )
    parser.add_argument(
        "sections",
        nargs="*",
        metavar="SECTION",
        help=f"{', '.join(SECTIONS)}, or price for time, memory and classes; all by default",
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
