"""`explain_dataset`: a Ray data set of pictures becomes one of explanations, on all its machines.

Ray is imported where it is used; what happens to a batch is the worker's matter.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import nn

from gradcam_hooks.apps.cluster.machines import check_free, imported
from gradcam_hooks.apps.cluster.worker import Asked, Worker, check_column
from gradcam_hooks.checks import check_count
from gradcam_hooks.errors import InputError
from gradcam_hooks.images.files import list_images
from gradcam_hooks.models import LoadedModel
from gradcam_hooks.network.modules import LayerSpec

if TYPE_CHECKING:
    from ray.data import Dataset

    from gradcam_hooks.explainers import MethodSpec
    from gradcam_hooks.targets import Target

__all__ = ["explain_dataset"]

_SPARE = 1
"""Processors that Ray's own work beside the workers needs: reading and writing."""

_FILTER = 1
"""Those of what leaves out the rows that a checkpoint has, without which Ray waits for good."""


def explain_dataset(
    data: Dataset | str | os.PathLike[str],
    /,
    *,
    model: Callable[[], nn.Module | LoadedModel],
    layer: LayerSpec = "auto",
    target: Target = None,
    method: MethodSpec = "gradcam",
    image: str = "bytes",
    batch_size: int = 16,
    workers: int | tuple[int, int] = 1,
    cpus: float = 1,
    gpus: float = 0,
    maps: bool = True,
    check: bool = False,
    **options: Any,
) -> Dataset:
    """Explain a Ray data set: the same rows, without their pictures and with what was found.

    Nothing runs before the result is asked for: ``write_parquet``, ``take``, ``iter_rows``. Each
    worker loads the network once, and keeps it. A picture that cannot be read, or on which the
    network fails, is a row with its ``error``; the others go on.

    Args:
        data: a data set with a column of pictures, as ``ray.data.read_binary_files`` makes one; or
            a folder, whose pictures are read so, with a column ``path``.
        model: makes the network, in each worker: a function that can be sent there.
        layer: as for `explain`.
        target: as for `explain`, one for each picture.
        method: as for `explain`.
        image: the column of pictures: bytes of files, or paths that every machine can read.
        batch_size: how many go through a network at once; halved where memory gives out.
        workers: how many there are, or the least and the most.
        cpus: processors of each.
        gpus: GPUs of each; 0.5 for two workers on one.
        maps: whether rows have their map: ``map``, the bytes of float32, and ``map_shape``.
        check: whether each map is checked, as `Explanation.check`.
        options: `Explainer`'s, and the method's own.

    Returns:
        Rows with ``error``, ``predicted``, ``label``, ``probability``, ``target``,
        ``target_label``, ``score``, ``layer``, ``method``, ``diagnosis``, ``diagnosis_message`` and
        ``trust``, each as in the command's `results.jsonl`.

    Raises:
        ImportError: Ray is not installed.
        InputError: there is no such column, or the machines have fewer free processors than this
            needs, where Ray would wait for good.
    """
    ray = imported()
    least, most = (workers, workers) if isinstance(workers, int) else workers
    check_count(least, "workers=", error=InputError)
    check_count(most, "workers=", least=least, error=InputError)
    check_count(batch_size, "batch_size=", error=InputError)
    given: Any = data
    if isinstance(data, str | os.PathLike):
        paths = [str(path.resolve()) for path in list_images([data])]
        given = ray.data.read_binary_files(paths, include_paths=True)
        image = "bytes"
    known = given.schema(fetch_if_missing=False)  # reading the first row may take a while
    if known is not None:
        check_column(image, known.names)
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    kept = getattr(given.context, "checkpoint_config", None)
    if kept is not None and kept.id_column == image:
        raise InputError(
            f"a checkpoint knows rows by {image!r}, the column of pictures, which rows lose: name "
            "another (CheckpointConfig(id_column='path', ...))."
        )
    spare = _SPARE if kept is None else _SPARE + _FILTER
    check_free(ray, least * cpus, least * gpus, spare, "workers=, cpus=, gpus=")
    asked = Asked(model, image, target, maps, check, {"method": method, "layer": layer, **options})
    pool = {"size": least} if least == most else {"min_size": least, "max_size": most}
    explained: Dataset = given.map_batches(
        Worker,
        fn_constructor_kwargs={"asked": asked},
        batch_size=batch_size,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(**pool),
        num_cpus=cpus,
        num_gpus=gpus or None,
        udf_modifying_row_count=False,
    )
    return explained
