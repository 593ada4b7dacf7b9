"""What people read: tables, the progress bar, and errors as one short line.

Results go to standard output, everything else to standard error, and nothing is drawn over where
that is no terminal. File names and labels are shown as they are: no markup is read in them, and
what a terminal would obey is escaped. This file knows records and tables: no model, no option.
"""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from gradcam_hooks.errors import (
    GradCamHooksError,
    GradientError,
    LayerDidNotRun,
    LayerError,
    LayerNotFound,
    TargetError,
)

if TYPE_CHECKING:
    from gradcam_hooks.apps.batch.records import Record
    from gradcam_hooks.apps.cli.doctor import Finding
    from gradcam_hooks.methods import Method

__all__ = [
    "bar",
    "debugging",
    "mistakes_told",
    "note",
    "plain",
    "say",
    "show_broken",
    "show_findings",
    "show_method",
    "show_methods",
    "show_records",
    "table",
]

debugging = ContextVar("debugging", default=False)
"""Whether errors are raised, not told."""

SHOWN = 20
"""Rows of a table of results; the rest is in `results.jsonl`."""


def plain(text: object) -> Text:
    r"""Text as it is: no markup, and control characters as their escapes.

    >>> plain("[red]x[/red]\x1b[2J.png").plain
    '[red]x[/red]\\x1b[2J.png'
    """
    shown = "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in str(text)
    )
    return Text(shown)


def say(*parts: object, sep: str = " ") -> None:
    """A line on standard output; it is left to the terminal to wrap it."""
    Console().print(*map(plain, parts), sep=sep, soft_wrap=True, highlight=False)


def note(word: str, text: object, style: str = "yellow") -> None:
    """A line on standard error, behind a coloured word."""
    lines = str(text).splitlines() or [""]
    console = Console(stderr=True)
    for start, line in zip([f"{word}: ", *[""] * len(lines)], lines, strict=False):
        # Whole lines for a file or a search; on a terminal, words kept whole.
        console.print(
            Text.assemble((start, style), plain(line)),
            soft_wrap=not console.is_terminal,
            highlight=False,
        )


@contextmanager
def mistakes_told(model: str | None = None) -> Iterator[None]:
    """Turn what a user can mend into one red line and exit status 2, and Ctrl-C into 130.

    What nobody foresaw is one line too, and status 70. With --debug all of it is raised.

    Args:
        model: the network's name, for the hint how to list its layers.
    """
    try:
        yield
    except typer.Exit:
        raise
    except KeyboardInterrupt as stop:
        note("stopped", "by Ctrl-C")
        raise typer.Exit(130) from stop
    except Exception as error:
        if debugging.get():
            raise
        raise typer.Exit(_told(error, model)) from error


def _told(error: Exception, model: str | None) -> int:
    """Say what went wrong; the status to end with."""
    if not isinstance(error, GradCamHooksError | OSError | ImportError):
        note(
            "error",
            f"{type(error).__name__}: {error}: nobody foresaw this; 'gradcam-hooks --debug ...' "
            "shows where it happened, which is what a report of it needs",
            "bold red",
        )
        return 70
    told: object = error
    if isinstance(error, OSError) and error.filename and error.strerror:
        told = f"'{error.filename}': {error.strerror}"
    if isinstance(error, FileExistsError):
        told = f"'{error.filename}' is a file, and results need a folder: name another (--out)"
    note("error", told, "bold red")
    about_layers = (GradientError, LayerDidNotRun, LayerError, LayerNotFound)
    if model is not None and isinstance(error, about_layers):
        note("hint", f"gradcam-hooks layers --model {shlex.quote(model)} lists them", "bold")
    if isinstance(error, TargetError):
        note("hint", "gradcam-hooks explain --help lists what --target takes", "bold")
    return 2


class _Rate(ProgressColumn):
    """Pictures a second; seconds a picture where that is less than one."""

    def render(self, task: Task) -> Text:
        """The rate over the last while."""
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.1f} per s" if speed >= 1 else f"{1 / speed:.1f} s each")


@contextmanager
def bar(total: int, words: str = "explaining", *, hidden: bool = False) -> Iterator[Progress]:
    """A progress bar with rate and time left, where there is a terminal to draw it on."""
    console = Console(stderr=True)
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
        disable=hidden or not console.is_terminal,
    )
    with progress:
        progress.add_task(words, total=total)
        yield progress


def table(*headings: str) -> Table:
    """An empty table that fits into 80 columns by folding its cells, not by cutting them."""
    made = Table(box=SIMPLE_HEAD, header_style="bold", padding=(0, 1), pad_edge=False)
    for heading in headings:
        made.add_column(heading, overflow="fold")
    return made


def show_methods(methods: Sequence[Method]) -> None:
    """All methods, a line each."""
    made = table("name", "cost", "what", "paper")
    for row in methods:
        told = f"{row.title}: {row.formula}" + ("" if row.class_specific else "; classes alike")
        made.add_row(*map(plain, (row.name, row.passes, told, row.paper)))
    Console().print(made)
    say(
        "cost: F a forward, B a backward pass; K channels, P positions, N samples; a tail is the "
        "layers behind the named one. 'gradcam-hooks methods NAME' tells all of one."
    )


def show_method(row: Method) -> None:
    """All there is to tell of one method."""
    places = {"layer": "the named layer", "attention": "all attention", "input": "the input"}
    options = ", ".join(f"{name}={value!r}" for name, value in row.options.items())
    lines = {
        "name": row.name,
        "class": f"gradcam_hooks.{row.cls}",
        "paper": row.paper,
        "formula": row.formula,
        "cost": row.passes,
        "gradients": "needed" if row.needs_gradients else "not needed",
        "classes": "told apart" if row.class_specific else "one map for all of them",
        "looks at": places[row.looks],
        "options": options or "none of its own",
        "elsewhere": row.deviations or "nothing known to differ",
    }
    made = Table(box=None, show_header=False, padding=(0, 2, 0, 0), title=row.title)
    made.title_justify = "left"
    for key, value in lines.items():
        made.add_row(plain(key), plain(value))
    Console().print(made)


def show_findings(findings: Iterable[Finding]) -> bool:
    """A line for each as it is found, under headings; whether all is well."""
    part, bad = "", []
    for one in findings:
        if one.part != part:
            say(*([""] if part else []), one.part, sep="\n")
            part = one.part
        say(f"  {one.name:<14}{'' if one.good else 'PROBLEM: '}{one.told}")
        bad += [] if one.good else [one.name]
    say("", f"problems: {', '.join(bad)}" if bad else "all is well", sep="\n")
    return not bad


def show_records(records: Sequence[Record]) -> None:
    """The closing tables: what was found, which maps are no good and why, what is broken."""
    done = [record for record in records if record.error is None]
    if done:
        _show_done(done)
    doubtful: dict[tuple[str, str], list[str]] = defaultdict(list)
    for record in done:
        for word, method in zip(record.diagnoses, record.methods, strict=True):
            if word != "ok":
                files = doubtful[str(word), word.message]
                one = f"{record.file} ({method})" if method else record.file
                files.extend([one] if one not in files[-1:] else [])
    for (told, message), files in doubtful.items():
        some = ", ".join(files[:5]) + (f" and {len(files) - 5} more" if len(files) > 5 else "")
        note(told, f"{some}: {message}")
    show_broken(records)


def show_broken(records: Sequence[Record]) -> None:
    """Which pictures are broken, and why."""
    for record in (one for one in records if one.error is not None):
        reason = str(record.error)
        named = reason.startswith(f"'{record.file}'")
        note("broken", reason if named else f"'{record.file}': {reason}", "bold red")


def _show_done(done: Sequence[Record]) -> None:
    from gradcam_hooks.apps.batch.names import absolute, below, shared_folder

    asked = not all(record.foreseen for record in done[:SHOWN])
    headings = ["image", "prediction", "probability", *(["explained"] if asked else [])]
    made = table(*headings, "layer", "file")
    made.columns[2].justify = "right"
    made.columns[2].no_wrap = True
    root = shared_folder([absolute(record.file) for record in done])
    for record in done[:SHOWN]:
        chance = "-" if record.probability is None else f"{record.probability:.3f}"
        image = below(absolute(record.file), root)
        cells = [image, record.said, chance, *([record.explained] if asked else [])]
        layers = record.layer if isinstance(record.layer, str) else ", ".join(record.layer or ())
        made.add_row(
            *map(plain, [*cells, layers, (record.overlay or "").removeprefix("overlays/")])
        )
    Console().print(made)
    if len(done) > SHOWN:
        say(f"... and {len(done) - SHOWN} more")
