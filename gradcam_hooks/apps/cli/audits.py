"""The command `gradcam-hooks audit`: a folder of pictures, searched for shortcuts."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import typer

from gradcam_hooks.apps.cli import flags
from gradcam_hooks.apps.cli.running import loaded_model, pooled
from gradcam_hooks.apps.cli.terminal import mistakes_told, note, say
from gradcam_hooks.defaults import MAX_PIXELS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gradcam_hooks.apps.cluster.looks import RemoteLook
    from gradcam_hooks.auditing import Audit
    from gradcam_hooks.models import LoadedModel

__all__ = ["audit"]

_RESULTS = Path("gradcam_results")

_About: TypeAlias = "tuple[list[str] | None, int | None, str | None, bool]"
"""What the flags say of networks beside their names and weights, as `loaded_model` takes it."""

_Prepared: TypeAlias = "tuple[str | None, str | None, str | None, str | None, str | None]"
"""What the flags say of how pictures are made ready, as `read_preprocess` takes it."""


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
    workers: flags.Workers = None,
    cluster: flags.Cluster = None,
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
        about = (model_args, num_classes, labels, trust_pickle)
        prepared = (preprocess, fit, size, mean, std)
        makes = [partial(_made, one, about, prepared, max_pixels) for one in networks.values()]
        far, own, readers = _pace(makes, device, workers, cluster)
        loaded, *others = (make(own) for make in makes)
        good, broken = readable(pictures, options.allow_pixels(max_pixels), readers)
        for _, why in broken:
            note("broken", why)
        how: dict[str, Any] = {"truths": truths, "boxes": boxes, "masks": masks, "seed": seed}
        how |= {"trials": trials, "agreement": agreement, "batch_size": batch_size}
        how |= {"layer": "auto" if not layer else layer[0] if len(layer) == 1 else tuple(layer)}
        how |= {"method": asked, "against": others[0] if others else None}
        how |= {"command": shlex.join(["gradcam-hooks", *sys.argv[1:]])}
        found, files = audit_files(loaded, good, out, workers=readers, far=far, **how)
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


def _pace(
    makes: Sequence[Callable[[str], LoadedModel]],
    device: str,
    workers: int | None,
    cluster: str | None,
) -> tuple[Sequence[RemoteLook], str, int | None]:
    """What looks at pictures on a cluster, for each network; the device and the readers here."""
    if cluster is None:
        return (), device, workers
    from gradcam_hooks.apps.cluster.looks import RemoteLook

    pool = pooled(cluster, device, workers)
    return [RemoteLook(make, pool) for make in makes], "cpu" if device == "cpu" else "auto", None


def _made(
    network: tuple[str, str | None], about: _About, words: _Prepared, most: int, device: str
) -> LoadedModel:
    """A network of a name and weights, with its own preprocessing; here, or on a worker."""
    from gradcam_hooks.apps.cli.options import allow_pixels, read_preprocess

    allow_pixels(most)
    name, weights = network
    loaded = loaded_model(name, weights, *about, device=device)
    return replace(loaded, preprocess=read_preprocess(loaded, *words))


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
