"""Checkpoints: what a file of weights holds, read without running anybody's code.

What a file is, its bytes say, not its suffix. Its sums are compared, and tensors alone are read:
a pickle that wants to run code is refused unless the user trusts it. The state dict is found
under the names that training scripts give it, with the labels that may lie beside it.
This file knows files and state dicts; it never builds a model.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import re
import tempfile
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Literal, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor, nn

from gradcam_hooks.errors import ModelError
from gradcam_hooks.images.files import nearest_file
from gradcam_hooks.models.labels import plain_labels

__all__ = ["Checkpoint", "WeightsSpec", "read_checkpoint", "some", "told_weights"]

WeightsSpec: TypeAlias = "str | os.PathLike[str] | bytes | IO[bytes]"
"""A file of weights by its path, its bytes, or opened in binary."""

_CONTAINERS = (
    *("state_dict", "model", "model_state_dict", "net", "ema", "model_state", "network"),
    *("weights", "params", "state_dict_ema", "model_ema"),
)
_LABELS = ("classes", "class_names", "labels", "idx_to_class", "class_to_idx")
_LEGACY = bytes.fromhex("6cfc9c46f9206aa85019")  # the number that torch.save began with till 1.6
_UNPACKED = 100
"""How many times its own size an archive may claim to hold; torch.save does not even compress."""

_SAVE = "save the weights alone, torch.save(model.state_dict(), 'weights.pth')"


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a file.

    Attributes:
        path: the file.
        state: the state dict, with the keys that the file has.
        versions: what modules wrote about their own format; None where the file lost it.
        labels: the classes' names, where the file carries them.
        hyper: what the module was made with, where Lightning wrote that.
    """

    path: Path
    state: Mapping[str, Tensor]
    versions: Mapping[str, Mapping[str, object]] | None = None
    labels: tuple[str, ...] | None = None
    hyper: Mapping[str, object] = field(default_factory=dict)


def read_checkpoint(weights: WeightsSpec, *, trust_pickle: bool = False) -> Checkpoint:
    """Read the state dict in a `.pth`, `.pt`, `.bin`, `.ckpt` or `.safetensors` file.

    It may lie bare or under `state_dict`, `model`, `model_state_dict`, `net`, `ema` and the like,
    nested too; the averaged weights are taken only where there are no others. Zip checksums are
    compared, which torch.load leaves out: a damaged file is an error, not other weights.

    Args:
        weights: the file, its bytes, or opened in binary.
        trust_pickle: run the code in a pickle that holds more than tensors and plain values.

    Raises:
        ModelError: there is no such file, or it is a folder, empty, cut short, damaged, of
            another kind, a pickle that is not trusted, or without tensors.
    """
    if not isinstance(weights, str | os.PathLike):
        with _on_disk(weights) as copied:
            copy = read_checkpoint(copied, trust_pickle=trust_pickle)
        return replace(copy, path=Path(told_weights(weights)))
    path = Path(weights).expanduser()
    kind = _kind(path)
    content = (
        _read_safetensors(path) if kind == "safetensors" else _read_pickle(path, kind, trust_pickle)
    )
    found = _find_state(content)
    if found is None:
        raise ModelError(f"'{path}' holds no state dict: {_summary(content)}; {_SAVE}")
    state = {key: value for key, value in found.items() if isinstance(value, Tensor)}
    carried = [content.get(key) for key in _LABELS] if isinstance(content, Mapping) else []
    labels = next((label for label in map(plain_labels, carried) if label), None)
    hyper = content.get("hyper_parameters") if isinstance(content, Mapping) else None
    named = isinstance(hyper, Mapping) and all(isinstance(name, str) for name in hyper)
    kept: dict[str, object] = dict(cast("Mapping[str, object]", hyper)) if named else {}
    return Checkpoint(path, state, getattr(found, "_metadata", None), labels, kept)


@contextmanager
def _on_disk(weights: object) -> Iterator[Path]:
    """A file of the bytes, or of what is opened, while open; errors tell of it by its name."""
    data = weights.read() if hasattr(weights, "read") else weights
    if not isinstance(data, bytes | bytearray | memoryview):
        raise ModelError(
            f"weights are a file, its bytes, or opened in binary, and a {type(data).__name__} came "
            "of what was given; torch.save(state_dict, path) writes such a file"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights"
        path.write_bytes(data)
        try:
            yield path
        except ModelError as error:
            raise ModelError(str(error).replace(str(path), told_weights(weights))) from error


def told_weights(weights: object) -> str:
    """What weights are called that may have no name."""
    if isinstance(weights, str | os.PathLike):
        return str(weights)
    return str(getattr(weights, "name", "the weights given"))


def _kind(path: Path) -> Literal["zip", "legacy", "pickle", "safetensors"]:
    """What the bytes say the file is; an error where that is no checkpoint."""
    try:
        if path.is_dir():
            raise ModelError(f"'{path}' is a folder, expected a file of weights; name one in it")
        if not path.exists():
            raise ModelError(f"no checkpoint '{path}'{nearest_file(path)}")
        if not path.is_file():
            raise ModelError(f"'{path}' is no regular file, expected a checkpoint")
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise ModelError(f"'{path}' cannot be read: {error.strerror or error}") from error
    if not head:
        raise ModelError(f"'{path}' is empty (0 bytes), expected weights; copy it here again")
    if head.startswith(b"PK\x03\x04"):
        _check_zip(path)
        return "zip"
    if head[8:9] == b"{":
        return "safetensors"
    if head.startswith(b"\x80"):
        return "legacy" if _LEGACY in head[:16] else "pickle"
    reason = f"it begins with {head[:16]!r}"
    if head.startswith(b"version https://git-lfs"):
        reason = "it is the pointer that Git LFS leaves; fetch the file with 'git lfs pull'"
    elif head.lstrip()[:1] == b"<":
        reason = "it is a web page; the link was not the file's own, download it again"
    raise ModelError(
        f"'{path}' is not a checkpoint: {reason}. Expected what torch.save or safetensors write"
    )


def _check_zip(path: Path) -> None:
    """The archive is whole, is one of torch.save's, and its sums are right."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if any(name.endswith("/constants.pkl") for name in names):
                raise ModelError(
                    f"'{path}' is a TorchScript archive, whose layers take no hooks; "
                    f"from the model it was made of, {_SAVE}"
                )
            if not any(name.endswith("/data.pkl") for name in names):
                raise ModelError(
                    f"'{path}' is not a checkpoint: a zip archive that torch.save did not write; "
                    f"it holds {some(names)}"
                )
            records = archive.infolist()
            claimed, there = sum(record.file_size for record in records), path.stat().st_size
            if claimed > _UNPACKED * there:
                raise ModelError(
                    f"'{path}' has {there:,} bytes and claims to hold {claimed:,}, as no weights "
                    "do; nothing of it is unpacked, get the file anew from whoever made it"
                )
            for record in records:
                if record.CRC:  # 0 where the writer kept no sums
                    with archive.open(record) as file:
                        while file.read(1 << 20):
                            pass
    except ModelError:
        raise
    except Exception as error:  # a few flipped bits make zipfile and zlib raise nearly everything
        reason = "damaged" if "CRC" in str(error) else "truncated or damaged"
        raise ModelError(
            f"'{path}' is {reason} ({error}); nothing of it is used, copy it here again"
        ) from error


def _read_safetensors(path: Path) -> Mapping[str, object]:
    """The tensors, and beside them the labels that the header may carry as JSON."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            # Cloned: what safetensors gives is the file itself, mapped. It would change with the
            # file, and it lies at odd addresses, where some kernels round otherwise.
            tensors = OrderedDict((key, file.get_tensor(key).clone()) for key in file.keys())  # noqa: SIM118
            notes = dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"'{path}' is truncated or damaged ({error}), or no safetensors file; "
            "nothing of it is used, copy it here again"
        ) from error
    content: dict[str, object] = {"state_dict": tensors}
    for key in _LABELS:
        if key in notes:
            try:
                content[key] = json.loads(notes[key])
            except (ValueError, RecursionError):
                content[key] = None  # free text under that name is no list of labels
    return content


def _read_pickle(path: Path, kind: Literal["zip", "legacy", "pickle"], trust: bool) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pickle protocols, or of the code in the pickle
        try:
            if kind != "pickle":
                with torch.serialization.safe_globals(_harmless()):
                    return torch.load(path, map_location="cpu", weights_only=True)
            reason = "torch.save did not write it"
        except pickle.UnpicklingError as error:
            wants = re.search(r"GLOBAL (\S+)", str(error))
            reason = f"it wants {wants[1]}" if wants else "it holds more than tensors"
        except Exception as error:  # torn files make torch.load raise nearly everything
            raise ModelError(
                f"'{path}' is truncated or damaged ({_told(error)}); "
                "nothing of it is used, copy it here again"
            ) from error
        if not trust:
            raise ModelError(
                f"'{path}' is a pickle of more than weights ({reason}), and reading such a pickle "
                "runs code of whoever made the file. If you trust them, pass trust_pickle=True "
                f"(--trust-pickle); better, {_SAVE}"
            )
        try:
            if kind != "pickle":
                return torch.load(path, map_location="cpu", weights_only=False)
            with path.open("rb") as file:
                return cast(object, pickle.load(file))
        except Exception as error:  # whatever the code in it raises
            raise ModelError(
                f"'{path}' cannot be unpickled ({_told(error)}): the code that made it must be "
                f"importable here, under its old name. Where it is, {_SAVE}"
            ) from error


def _harmless() -> list[Callable[..., object] | tuple[Callable[..., object], str]]:
    """What training scripts put beside the weights (options, NumPy scalars), and runs no code."""
    scalar = cast("Callable[..., object]", np.float64(0).__reduce__()[0])
    dtypes = {type(np.dtype(code)) for code in "?bBhHiIlLqQefd"}
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    paths = [
        (kind, f"{module}.{name}")
        for kind, name in ((PurePosixPath, "PosixPath"), (PureWindowsPath, "WindowsPath"))
        for module in ("pathlib", "pathlib._local")
    ]
    numbers = [(scalar, name) for name in names]
    return [argparse.Namespace, np.dtype, *dtypes, *numbers, *paths]


def _find_state(content: object, depth: int = 3) -> Mapping[str, object] | None:
    """The first mapping with tensors, containers of the usual names before what lies beside."""
    if isinstance(content, nn.Module):
        return content.state_dict()
    if not isinstance(content, Mapping) or not depth:
        return None
    for key in _CONTAINERS:
        found = _find_state(content.get(key), depth - 1)
        if found is not None:
            return found
    if _has_tensors(content):
        return content
    inner = [value for value in content.values() if _has_tensors(value)]
    return inner[0] if len(inner) == 1 else None


def _has_tensors(content: object) -> bool:
    return (
        isinstance(content, Mapping)
        and all(isinstance(key, str) for key in content)
        and any(isinstance(value, Tensor) for value in content.values())
    )


def _summary(content: object) -> str:
    if not isinstance(content, Mapping):
        return f"it holds a {type(content).__name__}"
    if not content:
        return "it holds an empty dict"
    return "its keys are " + some(f"{key} ({type(v).__name__})" for key, v in content.items())


def some(items: Iterable[str], count: int = 4) -> str:
    """The first few of a list, and how many more there are."""
    listed = list(items)
    more = f", and {len(listed) - count} more" if len(listed) > count else ""
    return ", ".join(listed[:count]) + more


def _told(error: Exception) -> str:
    """The kind of an error and its first line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
