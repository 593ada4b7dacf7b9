"""Running: networks loaded and pictures explained for the command, with what is said of it.

Whatever takes long to import is imported where it is used.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from gradcam_hooks.apps.cli.terminal import bar, note, say, show_broken, show_records
from gradcam_hooks.checks import check_count
from gradcam_hooks.errors import InputError

if TYPE_CHECKING:
    from gradcam_hooks.apps.batch import Series
    from gradcam_hooks.apps.batch.job import Job
    from gradcam_hooks.apps.batch.records import Record
    from gradcam_hooks.apps.cluster.pool import Pool
    from gradcam_hooks.apps.reported.running import Running
    from gradcam_hooks.models import LoadedModel
    from gradcam_hooks.targets import Target

__all__ = [
    "Told",
    "Words",
    "chosen_pictures",
    "explain_all",
    "loaded_model",
    "loaded_models",
    "placed",
    "pooled",
]


def chosen_pictures(
    paths: list[Path] | None, image_dir: list[Path] | None, truth: str | None, out: Path
) -> tuple[list[Path], dict[str, str]]:
    """The pictures, and what is known of their true classes; before a network is loaded."""
    from gradcam_hooks.apps.batch import Folder
    from gradcam_hooks.apps.batch.runs import searched
    from gradcam_hooks.apps.batch.series import ALWAYS
    from gradcam_hooks.apps.batch.truths import read_truths
    from gradcam_hooks.apps.cli.options import read_paths
    from gradcam_hooks.images.files import list_images, told_left_out

    named = read_paths(paths, image_dir)
    left_out: Counter[str] = Counter()
    pictures = list_images(named, exclude=searched(named, out), left_out=left_out)
    if left_out:
        note("note", f"{len(pictures)} pictures{told_left_out(left_out)}")
    truths = {} if truth is None else read_truths(truth, pictures)
    Folder(out).check(ALWAYS)
    return pictures, truths


def loaded_model(
    model: str,
    weights: str | None,
    model_args: list[str] | None,
    num_classes: int | None,
    labels: str | None,
    trust_pickle: bool,
    device: str,
) -> LoadedModel:
    """The network of a name; of random weights it is said that they mean nothing."""
    from gradcam_hooks.apps.cli import options
    from gradcam_hooks.models import load_model

    if weights == "random":
        import torch

        torch.manual_seed(0)  # so that a second run finds the same network
        note(
            "warning",
            "random weights: this network has learnt nothing, and what it looks at means nothing",
        )
    loaded = load_model(
        model,
        options.read_weights(model, weights),
        model_args=options.read_options(model_args, "--model-args"),
        num_classes=num_classes,
        labels=labels,
        trust_pickle=trust_pickle,
        device=options.read_device(device),
    )
    for told in loaded.notes:
        note("note", told)
    return loaded


def loaded_models(
    networks: Mapping[str, tuple[str, str | None]],
    model_args: list[str] | None,
    num_classes: int | None,
    labels: str | None,
    trust_pickle: bool,
    device: str,
) -> dict[str, LoadedModel]:
    """The networks of several names and weights."""
    return {
        title: loaded_model(name, weights, model_args, num_classes, labels, trust_pickle, device)
        for title, (name, weights) in networks.items()
    }


@dataclass(frozen=True)
class Words:
    """What a user said of networks and maps; jobs are made of it, here or on another machine.

    Attributes:
        networks: the name and the weights of each network, as `read_networks` gives them.
        about: the rest that is said of all of them, as `loaded_model` takes it, but the device.
        layers: as the flag gives them.
        target: what is explained.
        method: as the flag gives it.
        output: as the flag gives it.
        option: as the flag gives it.
        how: the rest, as `Job` takes it.
        preprocess: as `read_preprocess` takes it.
    """

    networks: Mapping[str, tuple[str, str | None]]
    about: tuple[list[str] | None, int | None, str | None, bool]
    layers: list[str] | None
    target: Target
    method: str
    output: str | None
    option: list[str] | None
    how: Mapping[str, Any]
    preprocess: tuple[Any, ...]

    def jobs(self, device: str) -> dict[str, Job]:
        """The job of each network, with its own preprocessing, by what sets it apart."""
        loaded = loaded_models(self.networks, *self.about, device=device)
        return {title: self._of(one) for title, one in loaded.items()}

    def job(self, title: str, device: str) -> Job:
        """The job of one network."""
        name, weights = self.networks[title]
        return self._of(loaded_model(name, weights, *self.about, device=device))

    def _of(self, loaded: LoadedModel) -> Job:
        from gradcam_hooks.apps.batch.job import Job
        from gradcam_hooks.apps.cli import options

        layers = self.layers
        return Job(
            loaded,
            "auto" if not layers else layers[0] if len(layers) == 1 else tuple(layers),
            self.target,
            options.read_methods(self.method),
            preprocess=options.read_preprocess(loaded, *self.preprocess),
            output=options.read_output(self.output),
            options=options.read_options(self.option),
            **self.how,
        )


def placed(
    words: Words,
    device: str,
    batch_size: int,
    workers: int | None,
    cluster: str | None,
    most: int,
) -> tuple[dict[str, Job], dict[str, Mapping[str, Any]]]:
    """The job of each network, and how its pictures are explained: here, or on a cluster.

    Args:
        words: what was said of networks and maps.
        device: as the flag gives it.
        batch_size: as the flag gives it.
        workers: processes that read pictures; of a cluster, those that hold a network.
        cluster: the address of a cluster; None for here.
        most: pixels of a picture at most.

    Raises:
        ImportError: Ray is not installed.
        InputError, DeviceError: nobody answers at the address, or it does not go with the rest.
        GradCamHooksError: as `loaded_model`.
    """
    if cluster is None:
        pace: Mapping[str, Any] = {"batch_size": batch_size, "workers": workers}
        return words.jobs(device), dict.fromkeys(words.networks, pace)
    from gradcam_hooks.apps.cluster.remote import Remote

    pool = pooled(cluster, device, workers)
    makes = {title: partial(_made, words, title, most) for title in words.networks}
    far = {title: Remote(make, pool, most) for title, make in makes.items()}
    return words.jobs("cpu"), {
        title: {"batch_size": batch_size, "elsewhere": one} for title, one in far.items()
    }


def pooled(cluster: str, device: str, workers: int | None) -> Pool:
    """The workers of a cluster, of which it was seen that there is one.

    Args:
        cluster: its address.
        device: as the flag gives it.
        workers: how many there are.

    Raises:
        ImportError: Ray is not installed.
        InputError, DeviceError: nobody answers at the address, or it does not go with the rest.
    """
    from gradcam_hooks.apps.cluster.machines import check_address
    from gradcam_hooks.apps.cluster.pool import Pool, check_device

    check_device(device)
    if workers is not None:
        check_count(workers, "--workers, with --cluster,", error=InputError)
    check_address(cluster)
    return Pool(cluster, device, workers)


def _made(words: Words, title: str, most: int, device: str) -> Job:
    """On a worker: the job of one network."""
    from gradcam_hooks.apps.cli.options import allow_pixels

    allow_pixels(most)
    return words.job(title, device)


def explain_all(
    jobs: Mapping[str, Job],
    pictures: list[Path],
    out: Path,
    most: int,
    told: Told,
    pace: Mapping[str, Mapping[str, Any]],
    **about: Any,
) -> None:
    """Do the run, write its report, and end with the status that says what came of it.

    Args:
        jobs: what is asked of each network, by its name.
        pictures: the pictures.
        out: the folder that was named.
        most: pixels of a picture at most.
        told: what is printed.
        pace: how each network's pictures are explained, as `Series.go` takes it.
        about: as `Series` takes it.
    """
    from gradcam_hooks.apps.batch.truths import check_truths
    from gradcam_hooks.apps.cli.options import allow_pixels, read_series
    from gradcam_hooks.apps.reported.running import running

    pictures = read_series(pictures, next(iter(jobs.values())).prepare)
    for job in jobs.values():
        check_truths(about["truths"], job.loaded.labels)
    with running(jobs, pictures, out, max_pixels=allow_pixels(most), **about) as run:
        found = {name: _watched(run, name, told, pace[name]) for name in jobs}
        with _told_first([record for records in found.values() for record in records]):
            pages = run.write(found, shlex.join(["gradcam-hooks", *sys.argv[1:]]))
    for name, records in found.items():
        if told.json or told.quiet:
            show_broken(records)
            continue
        if name:
            say()
            say(f"{name}:")
        _conclude(run.series[name], records)
    if not (told.json or told.quiet):
        _tell_places(run, pages)
    if any(record.error is not None for records in found.values() for record in records):
        raise typer.Exit(1)


class NobodyReadsError(Exception):
    """Standard output was closed by whoever read it."""


@dataclass(frozen=True)
class Told:
    """What a run prints.

    Attributes:
        quiet: nothing but what is wrong.
        json: a line for each record on standard output.
    """

    quiet: bool = False
    json: bool = False

    def line(self, name: str, record: Record) -> None:
        """Print a record, of several networks with the network's name.

        Raises:
            NobodyReadsError: standard output is closed.
        """
        line = record.line()
        if name:
            line = f'{{"network": {json.dumps(name)}, {line[1:]}'
        try:
            sys.stdout.write(line)
            sys.stdout.flush()
        except BrokenPipeError as error:
            # What is left in the buffer would be complained of when Python ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise NobodyReadsError from error


@contextmanager
def _told_first(records: list[Record]) -> Iterator[None]:
    """Where the disk takes no more, say what came of the pictures ahead of that."""
    try:
        yield
    except OSError:
        show_records(records)
        raise


def _watched(run: Running, name: str, told: Told, pace: Mapping[str, Any]) -> list[Record]:
    """Do the run under a progress bar; Ctrl-C tells what is kept."""
    found: list[Record] = []
    series, words = run.series[name], f"explaining {name}".strip()
    total = series.total - len(series.kept)
    try:
        with _told_first(found), bar(total, words, hidden=told.quiet) as progress:
            for record in series.kept if told.json else ():
                told.line(name, record)

            def count(record: Record) -> None:
                found.append(record)
                progress.advance(progress.task_ids[0])
                if told.json:
                    told.line(name, record)

            return run.go(name, progress=count, **pace)
    except (KeyboardInterrupt, NobodyReadsError) as stop:
        unread = isinstance(stop, NobodyReadsError)
        if not (series.done or unread):
            raise
        if not (told.quiet and unread):
            why = "nobody reads the records any more; " if unread else ""
            note(
                "stopped",
                f"{why}{series.done} of {series.total} pictures are done, and kept in "
                f"'{series.folder.path / 'results.jsonl'}'; the same command goes on from there",
            )
        raise typer.Exit(141 if unread else 130) from stop


def _conclude(series: Series, records: list[Record]) -> None:
    """Print what came of a network's run."""
    broken = sum(record.error is not None for record in records)
    show_records(records)
    for told in series.notes:
        note("note", told)
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
    if others := len(series.all()) - len(records):
        say(f"The report and the results tell of {others} more, of earlier runs.")
    for line in textwrap.wrap(f"prepared: {series.job.prepare}", 80, subsequent_indent=" " * 10):
        say(line)
    if len(records) > broken:
        say(f"overlays: {series.folder.path / 'overlays'}")
    say(f"results:  {series.folder.path / 'results.jsonl'}")


def _tell_places(run: Running, pages: list[Path]) -> None:
    """Say where the report is, and which results it leaves as they are."""
    if run.beside:
        say()
    many = f", in {len(pages)} pages" if len(pages) > 1 else ""
    say(f"report:   {pages[0]}{many}")
    if run.home.path != run.out:
        say(
            f"The earlier results in '{run.out}', of other options or another network, are as they "
            f"were; '{run.out / 'latest.html'}' opens the report that was written last."
        )
