"""Folders of transformers: what `save_pretrained` wrote, whole or not at all.

transformers is imported when such a folder is asked for; none of the folder's code is run, and
nobody is asked whether it may be.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from gradcam_hooks.errors import ModelError
from gradcam_hooks.images.files import nearest_file, no_file, read_text

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["from_folder", "processor_in"]

_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
"""The files in which transformers keeps a processor beside its network."""

_REASONS = {
    "trust_remote_code": "brings code of its own, which is not run; if you trust it, load the "
    "network in Python and hand that over",
    "Weights only load failed": "holds a pickle that is more than tensors, whose code is not run; "
    "save it with a newer transformers, which writes safetensors",
    "ignore_mismatched_sizes": "holds weights of other shapes than its config.json says; save it "
    "again",
}
"""What is said where transformers says this, whose advice is to run the code."""


def from_folder(folder: Path) -> nn.Module:
    """The network in a folder, of the class that its configuration names.

    Raises:
        ModelError: transformers or the folder is not there, it does not hold all weights, or
            wants code to be run that is not transformers' own.
    """
    if not (folder / "config.json").is_file():
        near = "" if folder.exists() else nearest_file(folder)
        raise ModelError(
            f"no config.json in '{folder}'{near}; hf: takes a folder that "
            "model.save_pretrained(folder) wrote, with its processor beside it"
        )
    transformers = _transformers(folder)
    with _told(folder), _quiet(transformers):
        _check(folder)
        config = transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        name = str((config.architectures or ["AutoModel"])[0])
        kind = transformers.AutoModel if name == "AutoModel" else getattr(transformers, name, None)
        if kind is not transformers.AutoModel and not (
            isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)
        ):
            raise ModelError(f"'{folder}' is said to be a '{name}', no network of transformers")
        model, told = kind.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, output_loading_info=True
        )
    if told["missing_keys"]:
        raise ModelError(f"'{folder}' lacks weights: {', '.join(sorted(told['missing_keys'])[:3])}")
    loaded: nn.Module = model
    return loaded


def processor_in(folder: Path) -> Any:
    """The image processor in a folder; None where there is none.

    Raises:
        ModelError: it is damaged, or not transformers' own.
    """
    if not any((folder / name).is_file() for name in _PROCESSORS):
        return None
    transformers = _transformers(folder)
    with _told(folder):
        return transformers.AutoImageProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )


def _transformers(folder: Path) -> ModuleType:
    try:
        import transformers
    except ImportError as error:
        raise ModelError(
            f"'{folder}' needs transformers, which cannot be imported ({error}): "
            "pip install transformers"
        ) from error
    module: ModuleType = transformers
    return module


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """While open, whatever goes wrong is an error of ours that names the folder."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # a damaged folder makes transformers raise nearly everything
        words = (str(error).strip().splitlines() or [""])[0]
        reason = f"cannot be loaded ({type(error).__name__}: {words}); save it again"
        reason = next((said for sign, said in _REASONS.items() if sign in str(error)), reason)
        raise ModelError(f"'{folder}' {reason}") from error


@contextmanager
def _quiet(transformers: ModuleType) -> Iterator[None]:
    """While open, transformers does not write the names of somebody's tensors to the terminal."""
    logging = transformers.utils.logging
    before = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _check(folder: Path) -> None:
    """There is nothing in it that would be waited for, or make transformers fetch code.

    Raises:
        ModelError: there is.
    """
    for path in folder.iterdir():
        if (reason := no_file(path)) and not path.is_dir():
            raise ModelError(f"'{path}' {reason}, expected a file; save the folder again")
    waiting = [json.loads(read_text(folder / "config.json"))]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            for key, value in one.items():
                # Kernels are named by their place on the hub, and run where `kernels` is installed.
                if key.endswith("_implementation") and "/" in str(value):
                    raise ModelError(
                        f"'{folder}' brings code of its own ({key}: {value}), which is not run; "
                        "take that line out of its config.json"
                    )
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
