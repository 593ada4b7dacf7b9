"""The command `gradcam-hooks`: flags in, the library called, tables and exit status out.

Status 0: all is well. 1: some pictures are broken. 2: a mistake in what was asked. 70: a fault of
the program's own. 130: stopped by Ctrl-C. The flags are declared in `flags`, their words read by
`options`, and what is printed is `terminal`'s. Whatever takes long to import is imported in the
command that needs it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from gradcam_hooks.apps.cli import flags, overlays
from gradcam_hooks.apps.cli.audits import audit
from gradcam_hooks.apps.cli.evaluations import evaluate
from gradcam_hooks.apps.cli.running import (
    Told,
    Words,
    chosen_pictures,
    explain_all,
    loaded_model,
    placed,
)
from gradcam_hooks.apps.cli.terminal import (
    debugging,
    mistakes_told,
    note,
    say,
    show_findings,
    show_method,
    show_methods,
)
from gradcam_hooks.defaults import (
    DEFAULT_ALPHA,
    DEFAULT_COLORMAP,
    MAX_PIXELS,
    OVERLAY_FORMAT,
    OVERLAY_SIDE,
)
from gradcam_hooks.version import version as own_version

__all__ = ["app"]

_RESULTS, _DEMO = Path("gradcam_results"), Path("demo_results")
_EXAMPLES = (
    "Examples:",
    "gradcam-hooks explain photos/ --model resnet50",
    "gradcam-hooks explain cat.jpg --model vgg16 --layer features --target tabby",
    "gradcam-hooks explain photos/ --model resnet18 --weights best.pth",
    "gradcam-hooks explain photos/ --model nets.py:build --weights best.pth",
    "gradcam-hooks explain photos/ --model resnet18 --weights before.pth --against after.pth",
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
    against: flags.Against = None,
    against_model: flags.AgainstModel = None,
    model_args: flags.ModelArgs = None,
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
    check: flags.Checked = False,
    output: flags.OutputKey = None,
    image_dir: flags.ImageDir = None,
    preprocess: flags.PreprocessName = None,
    fit: flags.FitName = None,
    size: flags.Size = None,
    mean: flags.Mean = None,
    std: flags.Std = None,
    window: flags.Window = None,
    slice: flags.SliceNumber = None,
    max_pixels: flags.MaxPixels = MAX_PIXELS,
    truth: flags.Truth = None,
    batch_size: flags.BatchSize = 8,
    workers: flags.Workers = None,
    cluster: flags.Cluster = None,
    out: flags.Out = _RESULTS,
    force: flags.Force = False,
    colormap: overlays.Colormap = DEFAULT_COLORMAP,
    alpha: overlays.Alpha = DEFAULT_ALPHA,
    opacity: overlays.Opacity = "map",
    caption: overlays.Caption = True,
    max_side: overlays.MaxSide = OVERLAY_SIDE,
    image_format: overlays.Format = OVERLAY_FORMAT,
    quiet: overlays.Quiet = False,
    json: overlays.Json = False,
) -> None:
    """Explain pictures: a report of all, one overlay for each, and a line in results.jsonl."""
    with mistakes_told(model):
        from gradcam_hooks.apps.cli import options
        from gradcam_hooks.apps.cli.targets import read_target

        pictures, truths = chosen_pictures(paths, image_dir, truth, out)
        name, asked = options.read_model(model, weights), read_target(target)
        networks = options.read_networks(name, weights, against, against_model)
        how: dict[str, Any] = {"multi_label": multi_label, "fuse": fuse, "check": check}
        how |= {"image_format": image_format, "max_side": max_side or None}
        how |= {"style": options.read_style(alpha, opacity, colormap, caption=caption)}
        how |= {"view": options.read_view(window, slice)}
        about = (model_args, num_classes, labels, trust_pickle)
        prepared = (preprocess, fit, size, mean, std)
        words = Words(networks, about, layer, asked, method, output, option, how, prepared)
        jobs, paces = placed(words, device, batch_size, workers, cluster, max_pixels)
        told = Told(quiet=quiet, json=json)
        explain_all(jobs, pictures, out, max_pixels, told, paces, again=force, truths=truths)


app.command()(audit)
app.command()(evaluate)


@app.command()
def layers(
    model: flags.ModelName = None,
    weights: flags.WeightsIfAny = None,
    model_args: flags.ModelArgs = None,
    num_classes: flags.Classes = None,
    trust_pickle: flags.TrustPickle = False,
    size: flags.Size = None,
) -> None:
    """List a network's layers, and which one is recommended."""
    with mistakes_told():
        from gradcam_hooks.apps.cli import options
        from gradcam_hooks.errors import GradCamHooksError, ModelError

        name = options.read_model(model, weights)
        sides = options.read_sides(size) if size else ()

        import torch

        from gradcam_hooks.images.given import input_shape
        from gradcam_hooks.layout.table import layers as survey
        from gradcam_hooks.models import load_model

        torch.manual_seed(0)
        loaded = load_model(
            name,
            None if weights == "random" else weights,
            model_args=options.read_options(model_args, "--model-args"),
            num_classes=num_classes,
            trust_pickle=trust_pickle,
        )
        shape = (1, *input_shape(loaded.preprocess))
        shape = (*shape[:2], *sides) if size else shape
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
    model_args: flags.ModelArgs = None,
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
    examples: flags.Examples = None,
    host: flags.Host = "127.0.0.1",
    port: flags.Port = None,
    allow_host: flags.AllowHost = None,
) -> None:
    """Open a page where pictures are dropped and explained as you choose; it needs Gradio."""
    with mistakes_told(model):
        from gradcam_hooks.apps import serve as pages
        from gradcam_hooks.apps.cli import options

        name = options.read_model(model, weights)
        offered = options.read_examples(examples)
        pages.check_address(host, port)
        pages.check_gradio()
        loaded = loaded_model(name, weights, model_args, num_classes, labels, trust_pickle, device)
        viewer = pages.Viewer(
            loaded,
            options.read_preprocess(loaded, preprocess, fit, size, mean, std),
            options.read_output(output),
            options.allow_pixels(max_pixels),
            offered,
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


@app.command()
def doctor() -> None:
    """Tell versions, devices and extras, and whether an explanation works: to paste in an issue."""
    with mistakes_told():
        from gradcam_hooks.apps.cli.doctor import examine

        if not show_findings(examine()):
            raise typer.Exit(1)
