"""The command `gradcam-hooks audit`: a folder of pictures, searched for shortcuts."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from gradcam_hooks.apps.cli import flags
from gradcam_hooks.apps.cli.running import loaded_models
from gradcam_hooks.apps.cli.terminal import mistakes_told, note, say
from gradcam_hooks.defaults import MAX_PIXELS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gradcam_hooks.auditing import Audit
    from gradcam_hooks.models import LoadedModel

__all__ = ["audit"]

_RESULTS = Path("gradcam_results")


def audit(
    paths: flags.Paths = None,
    model: flags.ModelName = None,
    weights: flags.Weights = None,
    against: flags.Against = None,
    against_model: flags.AgainstModel = None,
    model_args: flags.ModelArgs = None,
    num_classes: flags.Classes = None,
    labels: flags.Labels = None,
    trust_pickle: flags.TrustPickle = False,
    device: flags.Device = "auto",
    layer: flags.Layers = None,
    method: flags.OneMethod = "gradcam",
    preprocess: flags.PreprocessName = None,
    fit: flags.FitName = None,
    size: flags.Size = None,
    mean: flags.Mean = None,
    std: flags.Std = None,
    max_pixels: flags.MaxPixels = MAX_PIXELS,
    truth: flags.Truth = None,
    boxes: flags.Boxes = None,
    masks: flags.Masks = None,
    trials: flags.Trials = 400,
    agreement: flags.Agreement = 96,
    seed: flags.Seed = 0,
    batch_size: flags.BatchSize = 32,
    out: flags.AuditOut = _RESULTS,
) -> None:
    """Search many pictures for what a network should not look at: audit.html, .json and .csv."""
    with mistakes_told(model):
        from gradcam_hooks.apps.audited import audit_files, readable
        from gradcam_hooks.apps.cli import options

        named = options.read_paths(paths)
        name, asked = options.read_model(model, weights), options.read_method(method).name
        pictures, truths = _chosen(named, truth, out, masks)
        networks = options.read_networks(name, weights, against, against_model)
        several = loaded_models(networks, model_args, num_classes, labels, trust_pickle, device)
        loaded, *others = _prepared(several.values(), (preprocess, fit, size, mean, std))
        good, broken = readable(pictures, options.allow_pixels(max_pixels))
        for _, why in broken:
            note("broken", why)
        found, files = audit_files(
            loaded,
            good,
            out,
            layer="auto" if not layer else layer[0] if len(layer) == 1 else tuple(layer),
            method=asked,
            truths=truths,
            boxes=boxes,
            masks=masks,
            against=others[0] if others else None,
            trials=trials,
            agreement=agreement,
            batch_size=batch_size,
            seed=seed,
            command=shlex.join(["gradcam-hooks", *sys.argv[1:]]),
        )
        _tell(found, files, others)
        if broken:
            raise typer.Exit(1)


def _chosen(
    named: list[Path], truth: str | None, out: Path, masks: Path | None
) -> tuple[list[Path], dict[str, str]]:
    """The pictures, and what is known of their true classes; before a network is loaded."""
    from gradcam_hooks.apps.audited import FILES
    from gradcam_hooks.apps.batch import Folder
    from gradcam_hooks.apps.batch.runs import searched
    from gradcam_hooks.apps.batch.truths import read_truths
    from gradcam_hooks.images.files import list_images

    pictures = list_images(named, exclude=[*searched(named, out), *([masks] if masks else [])])
    truths = {} if truth is None else read_truths(truth, pictures)
    Folder(out).check(FILES)
    return pictures, truths


def _prepared(
    loaded: Iterable[LoadedModel], words: tuple[str | None, ...]
) -> Iterator[LoadedModel]:
    """Each network with its own preprocessing, as the flags say."""
    from gradcam_hooks.apps.cli.options import read_preprocess

    for one in loaded:
        yield replace(one, preprocess=read_preprocess(one, *words))


def _tell(found: Audit, files: Sequence[Path], others: Sequence[LoadedModel]) -> None:
    """What was found, and where it is written."""
    if found.accuracy is not None:
        say(f"{found.accuracy:.1%} of the answers are right.")
    say(found.text)
    if found.against is not None:
        say(f"Against {others[0].name}, {others[0].weights}: {found.against.text}")
        say(f"By itself: {found.against.audit.text}")
    for file in files:
        say(f"{file.suffix[1:]}: {file}")
