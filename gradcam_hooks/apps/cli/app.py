"""The command `gradcam-hooks`: flags in, the library called, tables and exit status out.

Status 0: all is well. 1: some pictures are broken. 2: a mistake in what was asked. 70: a fault of
the program's own. 130: stopped by Ctrl-C. The flags are declared in `flags`, their words read by
`options`, and what is printed is `terminal`'s. Whatever takes long to import is imported in the
command that needs it.
"""

from __future__ import annotations

import shlex
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from gradcam_hooks.apps.cli import flags
from gradcam_hooks.apps.cli.terminal import (
    bar,
    debugging,
    mistakes_told,
    note,
    say,
    show_method,
    show_methods,
    show_records,
)
from gradcam_hooks.defaults import DEFAULT_COLORMAP, MAX_PIXELS
from gradcam_hooks.version import version as own_version

if TYPE_CHECKING:
    from gradcam_hooks.apps.batch import Series
    from gradcam_hooks.apps.batch.job import Job
    from gradcam_hooks.apps.batch.records import Record
    from gradcam_hooks.models import LoadedModel

__all__ = ["app"]

_RESULTS, _DEMO = Path("gradcam_results"), Path("demo_results")
_EXAMPLES = (
    "Examples:",
    "gradcam-hooks explain photos/ --model resnet50",
    "gradcam-hooks explain cat.jpg --model vgg16 --layer features --target tabby",
    "gradcam-hooks explain photos/ --model resnet18 --weights best.pth",
    "gradcam-hooks explain photos/ --model nets.py:build --weights best.pth",
)

app = typer.Typer(
    name="gradcam-hooks",
    epilog="Begin with:  gradcam-hooks demo",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_show_locals=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"gradcam-hooks {own_version()}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="The version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an error was raised, not its words alone.")
    ] = False,
) -> None:
    """See what a PyTorch network looked at."""
    debugging.set(debug)


@app.command(epilog="\n\n".join(_EXAMPLES))
def explain(
    paths: flags.Paths = None,
    model: flags.ModelName = None,
    weights: flags.Weights = None,
    num_classes: flags.Classes = None,
    labels: flags.Labels = None,
    trust_pickle: flags.TrustPickle = False,
    multi_label: flags.MultiLabel = None,
    device: flags.Device = "auto",
    layer: flags.Layers = None,
    target: flags.TargetWord = "predicted",
    method: flags.MethodNames = "gradcam",
    option: flags.MethodOptions = None,
    fuse: flags.Fuse = None,
    output: flags.OutputKey = None,
    image_dir: flags.ImageDir = None,
    preprocess: flags.PreprocessName = None,
    fit: flags.FitName = None,
    size: flags.Size = None,
    mean: flags.Mean = None,
    std: flags.Std = None,
    max_pixels: flags.MaxPixels = MAX_PIXELS,
    truth: flags.Truth = None,
    batch_size: flags.BatchSize = 8,
    out: flags.Out = _RESULTS,
    force: flags.Force = False,
    colormap: flags.Colormap = DEFAULT_COLORMAP,
    alpha: flags.Alpha = 0.5,
    caption: flags.Caption = True,
) -> None:
    """Explain pictures: a report of all, one overlay for each, and a line in results.jsonl."""
    with mistakes_told(model):
        from gradcam_hooks.apps.cli import options
        from gradcam_hooks.apps.cli.targets import read_target

        named = options.read_paths(paths, image_dir)
        name, asked = options.read_model(model, weights), read_target(target)
        pictures, truths = _pictures(named, truth, out)
        loaded = _load(name, weights, num_classes, labels, trust_pickle, device)

        from gradcam_hooks.apps.batch.job import Job
        from gradcam_hooks.results.drawing import Style

        layers = tuple(layer or ("auto",))
        job = Job(
            loaded,
            layer=layers[0] if len(layers) == 1 else layers,
            target=asked,
            method=options.read_methods(method),
            preprocess=options.read_preprocess(loaded, preprocess, fit, size, mean, std),
            output=options.read_output(output),
            multi_label=multi_label,
            options=options.read_options(option),
            fuse=fuse,
            style=Style(alpha=alpha, colormap=colormap, caption=caption),
        )
        most = options.allow_pixels(max_pixels)
        _run(job, pictures, truths, out, batch_size, again=force, max_pixels=most)


def _pictures(named: list[Path], truth: str | None, out: Path) -> tuple[list[Path], dict[str, str]]:
    """The pictures, and what is known of their true classes; before a network is loaded."""
    from gradcam_hooks.apps.batch import Folder
    from gradcam_hooks.apps.batch.series import ALWAYS
    from gradcam_hooks.apps.batch.truths import read_truths
    from gradcam_hooks.apps.cli import options
    from gradcam_hooks.images.files import list_images

    pictures = list_images(named, exclude=options.searched(named, out))
    truths = {} if truth is None else read_truths(truth, pictures)
    Folder(out).check(ALWAYS)
    return pictures, truths


def _load(
    model: str,
    weights: str | None,
    num_classes: int | None,
    labels: Path | None,
    trust_pickle: bool,
    device: str,
) -> LoadedModel:
    from gradcam_hooks.apps.cli import options
    from gradcam_hooks.models import load_model

    if weights == "random":
        import torch

        torch.manual_seed(0)  # so that a second run finds the same network
        note(
            "warning",
            "random weights: this network has learnt nothing, and what it looks at means nothing",
        )
    return load_model(
        model,
        options.read_weights(model, weights),
        num_classes=num_classes,
        labels=labels,
        trust_pickle=trust_pickle,
        device=options.read_device(device),
    )


def _run(
    job: Job,
    pictures: list[Path],
    truths: dict[str, str],
    out: Path,
    batch_size: int,
    *,
    again: bool,
    max_pixels: int,
) -> None:
    """Do the run, write its report, and end with the status that says what came of it."""
    from gradcam_hooks.apps.batch import Series
    from gradcam_hooks.apps.batch.truths import check_truths
    from gradcam_hooks.apps.reported import page_of

    check_truths(truths, job.loaded.labels)
    series = Series(job, pictures, out, again=again, truths=truths, max_pixels=max_pixels)
    with series.folder.held():
        records = _watched(series, batch_size)
        with _told_first(records):
            pages = page_of(series, records, shlex.join(["gradcam-hooks", *sys.argv[1:]]))
    _conclude(series, records, pages)


@contextmanager
def _told_first(records: list[Record]) -> Iterator[None]:
    """Where the disk takes no more, say what came of the pictures ahead of that."""
    try:
        yield
    except OSError:
        show_records(records)
        raise


def _watched(series: Series, batch_size: int) -> list[Record]:
    """Do the run under a progress bar; Ctrl-C tells what is kept."""
    found: list[Record] = []
    try:
        with _told_first(found), bar(series.total - len(series.kept)) as progress:

            def count(record: Record) -> None:
                found.append(record)
                progress.advance(progress.task_ids[0])

            return series.go(batch_size=batch_size, progress=count)
    except KeyboardInterrupt as stop:
        done = len(found)
        if not done + len(series.kept):
            raise
        note(
            "stopped",
            f"{done + len(series.kept)} of {series.total} pictures are done, and kept in "
            f"'{series.folder.path / 'results.jsonl'}'; the same command goes on from there",
        )
        raise typer.Exit(130) from stop


def _conclude(series: Series, records: list[Record], pages: list[Path]) -> None:
    """Print what came of a run, and end with the status that says so."""
    broken = sum(record.error is not None for record in records)
    show_records(records)
    kept = len(series.kept)
    done = len(records) - broken - kept
    parts = [
        *([f"{done} explained"] if done else []),
        *([f"{kept} kept from an earlier run (--force does them again)"] if kept else []),
        *([f"{broken} broken"] if broken else []),
    ]
    say(f"{len(records)} picture{'s' * (len(records) != 1)}: {', '.join(parts)}.")
    judged = sum(record.right is not None for record in records)
    if judged:
        say(f"{sum(record.right is True for record in records)} of {judged} are predicted right.")
    out, others = series.folder.path, len(series.all()) - len(records)
    if series.replaced:
        say(
            f"{series.replaced} of them take the place of an earlier run's, with other options; "
            "another --out keeps both."
        )
    if others:
        say(f"The report and the results tell of {others} more, of earlier runs.")
    for line in textwrap.wrap(f"prepared: {series.job.prepare}", 80, subsequent_indent=" " * 10):
        say(line)
    if len(records) > broken:
        say(f"overlays: {out / 'overlays'}")
    say(f"results:  {out / 'results.jsonl'}")
    say(f"report:   {pages[0]}" + (f", in {len(pages)} pages" if len(pages) > 1 else ""))
    if broken:
        raise typer.Exit(1)


@app.command()
def layers(
    model: flags.ModelName = None,
    weights: flags.WeightsIfAny = None,
    num_classes: flags.Classes = None,
    trust_pickle: flags.TrustPickle = False,
    size: flags.Size = None,
) -> None:
    """List a network's layers, and which one is recommended."""
    with mistakes_told():
        from gradcam_hooks.apps.cli import options
        from gradcam_hooks.errors import GradCamHooksError, ModelError

        name = options.read_model(model, weights)
        height, width = options.read_size(size) if size else (0, 0)

        import torch

        from gradcam_hooks.images.given import input_shape
        from gradcam_hooks.layout.table import layers as survey
        from gradcam_hooks.models import load_model

        torch.manual_seed(0)
        loaded = load_model(
            name,
            None if weights == "random" else weights,
            num_classes=num_classes,
            trust_pickle=trust_pickle,
        )
        shape = (1, *input_shape(loaded.preprocess))
        shape = (*shape[:2], height, width) if size else shape
        try:
            found = survey(loaded.model, torch.randn(shape))
        except GradCamHooksError:
            raise
        except Exception as error:  # the network is the user's code
            raise ModelError(
                f"the network fails on an input of shape {shape}: {type(error).__name__}: {error}"
            ) from error
    Console().print(found)


@app.command()
def methods(name: flags.AnyMethod = None) -> None:
    """List the methods: formula, cost and paper; of one, all there is to tell."""
    with mistakes_told():
        from gradcam_hooks.apps.cli import options
        from gradcam_hooks.methods import METHODS

        if name is None:
            show_methods(list(METHODS.values()))
        else:
            show_method(options.read_method(name))


@app.command()
def serve(
    model: flags.ModelName = None,
    weights: flags.Weights = None,
    num_classes: flags.Classes = None,
    labels: flags.Labels = None,
    trust_pickle: flags.TrustPickle = False,
    device: flags.Device = "auto",
    output: flags.OutputKey = None,
    preprocess: flags.PreprocessName = None,
    fit: flags.FitName = None,
    size: flags.Size = None,
    mean: flags.Mean = None,
    std: flags.Std = None,
    max_pixels: flags.MaxPixels = MAX_PIXELS,
    host: flags.Host = "127.0.0.1",
    port: flags.Port = None,
    allow_host: flags.AllowHost = None,
) -> None:
    """Open a page where pictures are dropped and explained as you choose; it needs Gradio."""
    with mistakes_told(model):
        from gradcam_hooks.apps import serve as pages
        from gradcam_hooks.apps.cli import options

        name = options.read_model(model, weights)

        pages.check_address(host, port)
        pages.check_gradio()
        loaded = _load(name, weights, num_classes, labels, trust_pickle, device)
        viewer = pages.Viewer(
            loaded,
            options.read_preprocess(loaded, preprocess, fit, size, mean, std),
            options.read_output(output),
            options.allow_pixels(max_pixels),
        )
        if not pages.is_local(host):
            note("warning", f"everyone who reaches '{host}' can open this page and use the network")
        pages.serve(
            viewer,
            host=host,
            port=port,
            names=allow_host or (),
            ready=lambda address: say(f"Open {address} in a browser; Ctrl-C stops it."),
        )


@app.command()
def demo(
    out: flags.DemoOut = _DEMO,
) -> None:
    """See two networks of equal accuracy, one of them right for the wrong reason."""
    with mistakes_told():
        from gradcam_hooks.apps.demo.show import show

        for line in show(out):
            say(line)
