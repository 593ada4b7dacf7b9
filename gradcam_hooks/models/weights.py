"""Weights: how the tensors of a checkpoint get into a model, whole or not at all.

A wrapper (DataParallel, torch.compile, Lightning) leaves a prefix on the keys; it is found by
what the model wants, not by a list. Loading is strict, and where the file does not fit, the error
tells the keys that are missing, left over or of another shape. This file knows modules and
checkpoints; which architecture it is, it does not know.
"""

from __future__ import annotations

import re
from collections import Counter, OrderedDict
from collections.abc import Collection, Mapping
from itertools import chain
from pathlib import Path

from torch import Tensor, nn

from gradcam_hooks.errors import ModelError
from gradcam_hooks.models.checkpoints import Checkpoint, some

__all__ = ["load_into", "strip_prefix"]

_WRAPPERS = {"module", "_orig_mod", "model"}  # DataParallel, torch.compile, Lightning
# DenseNet before torchvision 0.3 named its layers `norm.1`, which are `norm1` today.
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")


def strip_prefix(state: Mapping[str, Tensor], wanted: Collection[str]) -> tuple[str, list[str]]:
    """The prefix under which most of the wanted keys lie, and the keys under it, in order.

    Nothing is stripped where the bare keys fit at least as well. Keys outside a stripped prefix
    belong to something else (a loss, a teacher, an average's counter) and are left out.

    Raises:
        ModelError: several prefixes fit alike, and none is a usual wrapper's.

    >>> import torch
    >>> keys = ["module.fc.weight", "module.fc.bias", "n_averaged"]
    >>> strip_prefix(dict.fromkeys(keys, torch.zeros(1)), {"fc.weight", "fc.bias"})
    ('module.', ['module.fc.weight', 'module.fc.bias'])
    """
    wanted = set(wanted)
    fits = Counter({"": 0})
    for key in state:
        starts = chain([0], (match.end() for match in re.finditer(r"\.", key)))
        fits.update(key[:start] for start in starts if key[start:] in wanted)
    best = max(fits.values())
    tied = [prefix for prefix, count in fits.items() if count == best]
    usual = [prefix for prefix in tied if set(prefix.split(".")[:-1]) <= _WRAPPERS]
    if len(tied) > 1 and not usual:
        raise ModelError(
            f"the keys of the model lie in the file more than once, under {some(tied)}; "
            "save the one that is meant alone"
        )
    prefix = min(usual or tied, key=len)
    return prefix, [key for key in state if key.startswith(prefix)]


def load_into(
    model: nn.Module, checkpoint: Checkpoint, *, ignore: tuple[str, ...] = (), assign: bool = False
) -> None:
    """Load all of a checkpoint into all of a model, or raise.

    Modules convert their own older formats. A batch norm's `num_batches_tracked`, which very old
    files lack and inference does not read, keeps the model's value.

    Args:
        model: what to load into; after an error it is not to be used.
        checkpoint: what to load.
        ignore: beginnings of keys that may be left over (heads that are used in training alone).
        assign: take the file's tensors for the model's, in the model's dtype, without copying.

    Raises:
        ModelError: keys are missing or left over, or shapes differ.
    """
    own: OrderedDict[str, Tensor] = OrderedDict(model.state_dict())
    prefix, keys = strip_prefix(checkpoint.state, own)
    state: OrderedDict[str, Tensor] = OrderedDict()
    for key in keys:
        short = _OLD_DENSENET.sub(r"\1\2", key[len(prefix) :])
        if short in own or not short.startswith(ignore or ("\0",)):
            tensor = checkpoint.state[key]
            fits = short in own and tensor.shape == own[short].shape  # else it may be of any size
            state[short] = tensor.to(own[short].dtype) if assign and fits else tensor
    for key in own.keys() - state.keys():
        if key.endswith("num_batches_tracked"):
            state[key] = own[key]
    versions = checkpoint.versions and {
        name[len(prefix) :]: note
        for name, note in checkpoint.versions.items()
        if f"{name}.".startswith(prefix)
    }
    failure: Exception | None = None
    # Without versions, modules take a file for their oldest format; MNASNet even refuses it.
    for metadata in (versions, getattr(model.state_dict(), "_metadata", None)):
        attempt = OrderedDict(state)
        attempt._metadata = metadata  # type: ignore[attr-defined]  # as torch itself keeps it
        try:
            model.load_state_dict(attempt, strict=True, assign=assign)
        except (RuntimeError, ValueError) as error:
            failure = error
        else:
            return
    raise ModelError(_differences(checkpoint.path, model, prefix, state, own)) from failure


def _differences(
    path: Path,
    model: nn.Module,
    prefix: str,
    state: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
) -> str:
    missing = [f"{key} {tuple(own[key].shape)}" for key in own if key not in state]
    extra = [f"{key} {tuple(state[key].shape)}" for key in state if key not in own]
    shapes = [
        f"{key} {tuple(state[key].shape)} where the model has {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    kinds = {"missing": missing, "unexpected": extra, "of another shape": shapes}
    parts = [f"{len(keys)} {kind}: {some(keys)}" for kind, keys in kinds.items() if keys]
    under = f" (read under the prefix '{prefix}')" if prefix else ""
    return (
        f"'{path}' does not fit {type(model).__name__}{under}: of {len(own)} keys "
        f"{'; '.join(parts) or 'none could be loaded'}. Name the architecture it was trained with, "
        "or give the function that builds it, --model path/to/file.py:function"
    )
