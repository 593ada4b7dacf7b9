"""Terms: what a run was, as terms and words, so that it can be repeated.

This file knows jobs, records and versions; it loads and runs nothing.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import torch

from gradcam_hooks.apps.batch.job import Job
from gradcam_hooks.apps.batch.records import Record
from gradcam_hooks.methods import METHODS
from gradcam_hooks.results.facts import class_word, label_of
from gradcam_hooks.targets import AllClasses, TopK
from gradcam_hooks.version import version

__all__ = ["terms_of"]


def terms_of(
    job: Job, records: Sequence[Record], command: str | None = None, others: int = 0
) -> list[tuple[str, str]]:
    """What a run was, as terms and words in the order in which they are shown.

    Args:
        job: what was asked.
        records: what came of it; they know the layers by name.
        command: the command line, where there was one.
        others: how many pictures of other runs the report shows as well.
    """
    layers = {" + ".join(_layers(one.layer)) for one in records if one.layer is not None}
    named = " + ".join(_layers(job.layer if isinstance(job.layer, str) else list(job.layer)))
    several = any(isinstance(one.layer, list) for one in records)
    parameter = next(job.loaded.model.parameters(), torch.empty(0))
    names = [job.method] if isinstance(job.method, str) else list(job.method)
    methods = [f"{METHODS[name].title} ({name})" if name in METHODS else name for name in names]
    return [
        ("Network", job.loaded.name),
        ("Weights", job.loaded.weights),
        ("Layer", ", ".join(sorted(layers)) or named),
        ("Method", ", ".join(methods)),
        ("Explained", _target(job)),
        *([("Layers fused by", job.fuse or "the method's own way")] if several else []),
        *([("Part of the output", str(job.output))] if job.output is not None else []),
        ("Preprocessing", str(job.prepare)),
        *([("Options", ", ".join(f"{k}={v!r}" for k, v in job.options.items()))]
          if job.options else []),
        *_judged(records),
        ("Precision and device", f"{str(parameter.dtype).removeprefix('torch.')}, "
         f"{parameter.device}"),
        ("Seed of torch", str(torch.initial_seed())),
        ("Versions", _versions()),
        ("Written", datetime.now().astimezone().isoformat(" ", "seconds")),
        ("Fingerprint", next((one.run for one in records if one.run), "")),
        *([("Command", command)] if command else []),
        *([("Besides", f"{others} more of earlier runs in this folder, for which this need not "
            "hold; their fingerprints are in results.jsonl")] if others else []),
    ]  # fmt: skip


def _judged(records: Sequence[Record]) -> list[tuple[str, str]]:
    """How right the predictions are: in all, of each true class, and what was taken for what."""
    known = [(str(one.truth), one.said) for one in records if one.right is not None]
    if not known:
        return []
    right = sum(one.right is True for one in records)
    of_each = Counter(truth for truth, _ in known)
    met = Counter(truth for truth, said in known if truth == said)
    wrong = Counter(pair for pair in known if pair[0] != pair[1])
    each = "; ".join(f"{name} {met[name]} of {count}" for name, count in sorted(of_each.items()))
    taken = "; ".join(f"{one[0]} for {one[1]} {count}" for one, count in wrong.most_common())
    return [
        ("Right", f"{right} of {len(known)} ({right / len(known):.1%})"),
        ("Right of each class", each),
        *([("Taken", taken)] if taken else []),
    ]


def _layers(layer: str | list[str] | None) -> list[str]:
    return layer if isinstance(layer, list) else [layer or "(the network)"]


def _target(job: Job) -> str:
    target, labels = job.target, job.loaded.labels
    if target is None:
        return "the predicted class of each picture"
    if isinstance(target, TopK):
        return f"the {target.k} highest classes of each picture"
    if isinstance(target, AllClasses):
        return "all classes"
    if isinstance(target, str):
        return "every label that is on" if target == "on" else f"the class '{target}'"
    if isinstance(target, int):
        return class_word(target, label_of(target, labels), numbered=True)
    return repr(target)


def _versions() -> str:
    others = [name for name in ("torchvision", "timm") if importlib.util.find_spec(name)]
    return ", ".join(
        [
            f"gradcam_hooks {version()}",
            f"torch {torch.__version__}",
            *(f"{name} {importlib.metadata.version(name)}" for name in others),
            f"Python {platform.python_version()}",
        ]
    )
