"""The report from Python: pictures or a data set through a network, onto a page.

What the command does with a folder, for whoever has a network in memory. It joins `batch` and
`report`; of data sets it knows what they return.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from gradcam_hooks.defaults import OVERLAY_FORMAT, OVERLAY_SIDE
from gradcam_hooks.errors import InputError
from gradcam_hooks.models import LoadedModel
from gradcam_hooks.network.modules import unwrap

if TYPE_CHECKING:
    from gradcam_hooks.apps.batch.job import ImageFormat
    from gradcam_hooks.apps.batch.records import Record
    from gradcam_hooks.images.given import PrepareSpec
    from gradcam_hooks.models.labels import LabelsSpec
    from gradcam_hooks.results.drawing import Style
    from gradcam_hooks.targets import Target

__all__ = ["Report", "report"]


@dataclass(frozen=True)
class Report:
    """What came of a run.

    Attributes:
        pages: the files of the report, the first first.
        records: what is known of each picture, in their order; of several networks the first's.
        networks: of several networks what came of each, by its name; else empty.
        left_out: how many files of the folders are no pictures, by their suffix.
    """

    pages: tuple[Path, ...]
    records: tuple[Record, ...]
    networks: Mapping[str, Report] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The page to open."""
        return self.pages[0]

    @property
    def accuracy(self) -> float | None:
        """The share that is predicted right, of those whose true class is known."""
        judged = [record.right for record in self.records if record.right is not None]
        return sum(judged) / len(judged) if judged else None

    @property
    def confusion(self) -> dict[tuple[str, str], int]:
        """How many pictures of a true class were taken for a class: by ``(true, predicted)``."""
        judged = (one for one in self.records if one.right is not None and one.truth is not None)
        return dict(Counter((str(one.truth), one.said) for one in judged))

    def __repr__(self) -> str:
        from gradcam_hooks.images.files import told_left_out

        each = self.networks or {"": self}
        told = "".join(f", {' '.join(filter(None, (n, one._told())))}" for n, one in each.items())
        left = told_left_out(Counter(self.left_out))
        return f"Report('{self.path}', {len(self.records)} pictures{told.rstrip(', ')}{left})"

    def _told(self) -> str:
        broken = sum(record.error is not None for record in self.records)
        parts = [
            *([] if self.accuracy is None else [f"{self.accuracy:.1%} right"]),
            *([f"{broken} broken"] if broken else []),
        ]
        return ", ".join(parts)


def report(
    model: nn.Module | LoadedModel | Mapping[str, nn.Module | LoadedModel],
    images: object,
    /,
    *,
    out: str | PathLike[str] = "gradcam_results",
    layer: str | Sequence[str] = "auto",
    target: Target = None,
    method: str | Sequence[str] = "gradcam",
    preprocess: PrepareSpec | None = None,
    labels: LabelsSpec | None = None,
    truths: Mapping[str, str] | Sequence[object] | str | None = None,
    multi_label: bool | None = None,
    output: str | int | None = None,
    fuse: str | None = None,
    style: Style | None = None,
    batch_size: int = 8,
    workers: int | None = None,
    max_side: int | None = OVERLAY_SIDE,
    image_format: ImageFormat = OVERLAY_FORMAT,
    again: bool = False,
    name: str | None = None,
    **options: object,
) -> Report:
    """Explain pictures or a data set, and write a report of them that a browser opens.

    Args:
        model: any module, or what `load_model` gave; or several by their names, such as
            ``{"before": one, "after": other}``, whose maps stand side by side on one page.
        images: a folder, a file, a list of files; or a data set of pictures, or of pairs of a
            picture and its class, such as torchvision's ``ImageFolder``, whose transform is then
            the preprocessing and whose classes are the labels. Pictures that are no files are
            written into ``out``.
        out: the folder of the report, the overlays and ``results.jsonl``. A second run with the
            same options goes on there; one with others, or of another network, gets a folder of
            its own in it (``run-2``), and ``latest.html`` opens the last one.
        layer: a dotted name, a glob, ``"auto"``, or several names.
        target: what is explained, as in `explain`.
        method: a name, several of them or ``"all"``.
        preprocess: how pictures are made ready, as for `Explainer`; by default the data set's
            transform, or what the network tells.
        labels: the classes' names, a file of them, or ``"imagenet"``.
        truths: the true classes: one for each picture, by its path, ``"folders"`` or a CSV file.
        multi_label: as for `Explainer`.
        output: which part of the network's output is explained.
        fuse: how the maps of several layers become one.
        style: how the maps are drawn.
        batch_size: how many go through the network at once; halved where memory gives out.
        workers: processes that read pictures ahead of the network; 0 for threads of this one. By
            default as many as this machine has use for.
        max_side: the overlays' longer side in pixels at most; None for the picture's own.
        image_format: of the overlays: ``"jpeg"``, ``"webp"`` or ``"png"``.
        again: do again what an earlier run has done.
        name: what the network is called on the page; of several their names are.
        options: the methods' own options.

    Returns:
        The pages, a record for each picture, accuracy and confusion where the truths are known.

    Raises:
        GradCamHooksError: the layer, the target or the method does not suit the network.
        ImageError, InputError: there are no pictures, or not such as are needed.
        OSError: the results cannot be written.
    """
    from gradcam_hooks.apps.batch import Folder
    from gradcam_hooks.apps.batch.job import Job
    from gradcam_hooks.apps.batch.truths import check_truths
    from gradcam_hooks.apps.reported.datasets import pictures_of
    from gradcam_hooks.apps.reported.running import running
    from gradcam_hooks.results.drawing import Style

    if not (models := model if isinstance(model, Mapping) else {"": model}):
        raise InputError("model= names no network: a mapping has at least one, by its name.")
    given = pictures_of(images, Folder(Path(out)), truths)
    own = (labels or given.labels, preprocess or given.transform)
    loaded = {called: _loaded(one, name, *own) for called, one in models.items()}
    for one in loaded.values():
        check_truths(given.truths, one.labels)
    job = Job(
        next(iter(loaded.values())),
        layer=layer if isinstance(layer, str) else tuple(layer),
        target=target,
        method=method if isinstance(method, str) else tuple(method),
        output=output,
        multi_label=multi_label,
        options=options,
        fuse=fuse,
        style=style or Style(),
        image_format=image_format,
        max_side=max_side,
    )
    jobs = {called: replace(job, loaded=one) for called, one in loaded.items()}
    with running(jobs, given.paths, Path(out), again=again, truths=given.truths) as run:
        found = {called: tuple(run.go(called, batch_size, workers=workers)) for called in jobs}
        pages = tuple(run.write(found))
    first = next(iter(found.values()))
    each = {called: Report(pages, records) for called, records in found.items()}
    return Report(pages, first, each if run.beside else {}, given.left_out)


def _loaded(
    model: nn.Module | LoadedModel,
    name: str | None,
    labels: LabelsSpec | None,
    preprocess: PrepareSpec | None,
) -> LoadedModel:
    """The network with what is known of it."""
    from gradcam_hooks.images.given import as_prepare
    from gradcam_hooks.models.labels import labels_of, read_labels
    from gradcam_hooks.models.presets import own_preprocess, volume_channels

    if not isinstance(model, LoadedModel):
        inner = unwrap(model)
        known = labels_of(inner)
        own = own_preprocess(inner)[0]
        model = LoadedModel(inner, type(inner).__name__, "as they are in memory", known, own)
    prepare = (
        model.preprocess
        if preprocess is None
        else cast("Any", as_prepare(preprocess, volume_channels(model.model)))
    )
    names = model.labels if labels is None else read_labels(labels)
    return LoadedModel(model.model, name or model.name, model.weights, names, prepare)
