"""The command `gradcam-hooks evaluate`: which layer and method to take, if any is believed."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradcam_hooks.apps.cli import flags
from gradcam_hooks.apps.cli.running import loaded_model
from gradcam_hooks.apps.cli.terminal import bar, mistakes_told, note, say
from gradcam_hooks.defaults import MAX_PIXELS
from gradcam_hooks.errors import InputError

if TYPE_CHECKING:
    from gradcam_hooks.evaluating import Evaluation
    from gradcam_hooks.evaluating.run import Progress
    from gradcam_hooks.models import LoadedModel

__all__ = ["evaluate"]

_RESULTS = Path("gradcam_results")

_Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--methods",
        help="Names, or families such as gradient, with commas between them or several times; "
        "file.py:function; all. Left out: HiResCAM, Grad-CAM, LayerCAM, Grad-CAM++, Eigen-CAM.",
        metavar="NAME[,NAME]",
        rich_help_panel=flags.WHAT,
    ),
]
_Layers = Annotated[
    list[str] | None,
    typer.Option(
        "--layers",
        help="Dotted names or globs, each layer by itself; several times for several. Left out: "
        "the last that still has space, and the last of the next finer resolution.",
        metavar="GLOB",
        rich_help_panel=flags.WHAT,
    ),
]
_Metrics = Annotated[
    list[str] | None,
    typer.Option(
        "--metrics",
        help="Names, with commas between them or several times. Left out: the usual ones.",
        metavar="NAME[,NAME]",
        rich_help_panel=flags.WHAT,
    ),
]
_Budget = Annotated[
    str,
    typer.Option(
        help="A time such as 90s, 5m or 1h, or '2000 passes', which chooses how many pictures and "
        "steps are afforded; all: every picture.",
        metavar="TIME|all",
        rich_help_panel=flags.WHAT,
    ),
]
_Demo = Annotated[
    bool, typer.Option("--demo", help="The bundled networks on drawn pictures: nothing is needed.")
]
_Together = Annotated[
    int,
    typer.Option(
        help="How many pictures are measured, and kept, together.",
        metavar="N",
        min=1,
        rich_help_panel=flags.PICTURES,
    ),
]
_Out = Annotated[
    Path,
    typer.Option(
        help="The folder for evaluate.html, evaluate.json and evaluate.csv. A run that was "
        "stopped goes on there; one with other options gets a folder of its own in it.",
        metavar="DIR",
        rich_help_panel=flags.RESULTS,
    ),
]


def evaluate(
    paths: flags.Paths = None,
    demo: _Demo = False,
    model: flags.ModelName = None,
    weights: flags.Weights = None,
    model_args: flags.ModelArgs = None,
    num_classes: flags.Classes = None,
    labels: flags.Labels = None,
    trust_pickle: flags.TrustPickle = False,
    device: flags.Device = "auto",
    layers: _Layers = None,
    methods: _Methods = None,
    metrics: _Metrics = None,
    budget: _Budget = "5m",
    seed: flags.Seed = 0,
    preprocess: flags.PreprocessName = None,
    fit: flags.FitName = None,
    size: flags.Size = None,
    mean: flags.Mean = None,
    std: flags.Std = None,
    max_pixels: flags.MaxPixels = MAX_PIXELS,
    boxes: flags.Boxes = None,
    masks: flags.Masks = None,
    batch_size: _Together = 4,
    out: _Out = _RESULTS,
) -> None:
    """Say which layer and method to take, or that no map is to be believed: evaluate.html."""
    with mistakes_told(model):
        if demo:
            _of_demo(paths, out, seed)
            return
        from gradcam_hooks.apps.cli import options

        named, name = options.read_paths(paths), options.read_model(model, weights)
        what: dict[str, Any] = {
            "methods": _methods(methods),
            "layers": layers,
            "metrics": _words(metrics),
            "boxes": boxes,
            "masks": masks,
            "budget": _limit(budget),
            "batch_size": batch_size,
            "seed": seed,
        }
        pictures = _pictures(named, out, masks)
        loaded = loaded_model(name, weights, model_args, num_classes, labels, trust_pickle, device)
        what["preprocess"] = options.read_preprocess(loaded, preprocess, fit, size, mean, std)
        _of_pictures(loaded, pictures, out, options.allow_pixels(max_pixels), what)


def _pictures(named: list[Path], out: Path, masks: Path | None) -> list[Path]:
    """The pictures, without what is in the folders of the results and of the masks."""
    from gradcam_hooks.apps.batch.runs import searched
    from gradcam_hooks.images.files import list_images

    return list_images(named, exclude=[*searched(named, out), *([masks] if masks else [])])


def _of_pictures(
    loaded: LoadedModel, pictures: list[Path], out: Path, most: int, what: dict[str, Any]
) -> None:
    from gradcam_hooks.apps.audited import readable
    from gradcam_hooks.apps.evaluated import evaluate_files

    good, broken = readable(pictures, most)
    for _, why in broken:
        note("broken", why)
    command = shlex.join(["gradcam-hooks", *sys.argv[1:]])
    with _watched("evaluating") as progress:
        found, files = evaluate_files(loaded, good, out, command=command, progress=progress, **what)
    _show(found, files)
    if broken:
        raise typer.Exit(1)


def _limit(word: str) -> str | None:
    """The budget, checked before a network is loaded; None for all pictures."""
    from gradcam_hooks.evaluating.budget import budget_of

    limit = None if word == "all" else word
    budget_of(limit)
    return limit


def _of_demo(paths: list[Path] | None, out: Path, seed: int) -> None:
    if paths:
        raise InputError("--demo draws its own pictures; name pictures, or leave it out")
    from gradcam_hooks.apps.demo.evaluated import evaluate_demo

    with _watched("evaluating") as progress:
        _, lines = evaluate_demo(out, seed=seed, progress=progress)
    for line in lines:
        say(line)


def _show(found: Evaluation, files: list[Path]) -> None:
    from rich.console import Console

    Console().print(found)
    say(found.text)
    for line in found.remarks:
        say(line)
    for file in files:
        say(f"{file.suffix[1:]}: {file}")


def _words(given: list[str] | None) -> list[str] | None:
    """The words of a flag, given several times or with commas between them."""
    return [one.strip() for word in given for one in word.split(",")] if given else None


def _methods(given: list[str] | None) -> list[object] | None:
    """Methods and families by name; a function of the user's own by file.py:function."""
    from gradcam_hooks.apps.cli.options import read_method
    from gradcam_hooks.evaluating.ways import methods_of

    words = _words(given)
    if words is None:
        return None
    found: list[object] = [read_method(one) if ":" in one else one for one in words]
    methods_of(found)  # so that a mistake is told before a network is loaded
    return found


@contextmanager
def _watched(words: str) -> Iterator[Progress]:
    """A progress bar with the time left; Ctrl-C tells that what was measured is kept."""
    try:
        with bar(0, words) as progress:
            task = progress.task_ids[0]
            yield lambda done, whole: progress.update(task, completed=done, total=whole)
    except KeyboardInterrupt:
        note("stopped", "what was measured is kept; the same command goes on from there")
        raise
