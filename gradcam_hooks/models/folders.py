"""Folders of transformers: what `save_pretrained` wrote, whole or not at all.

transformers is imported when such a folder is asked for; none of the folder's code is run.
"""

from __future__ import annotations

from pathlib import Path

from torch import nn

from gradcam_hooks.errors import ModelError
from gradcam_hooks.images.files import nearest_file

__all__ = ["from_folder"]


def from_folder(folder: Path) -> nn.Module:
    """The network in a folder, of the class that its configuration names.

    Raises:
        ModelError: transformers or the folder is not there, or it does not hold all weights.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"no config.json in '{folder}'{nearest_file(folder)}; hf: takes a folder that "
            "model.save_pretrained(folder) wrote, with its processor beside it"
        )
    try:
        import transformers
    except ImportError as error:
        raise ModelError(
            f"'{folder}' needs transformers, which cannot be imported ({error}): "
            "pip install transformers"
        ) from error
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        kind = getattr(transformers, (config.architectures or ["AutoModel"])[0])
        model, told = kind.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    except Exception as error:  # a damaged folder makes it raise nearly everything
        raise ModelError(
            f"'{folder}' cannot be loaded ({type(error).__name__}: {error}); save it again"
        ) from error
    if told["missing_keys"]:
        raise ModelError(f"'{folder}' lacks weights: {', '.join(sorted(told['missing_keys'])[:3])}")
    loaded: nn.Module = model
    return loaded
