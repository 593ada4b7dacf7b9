"""Faults: the picture on which somebody's network fails, told by its name.

Where many pictures go through a network together, PyTorch's words say nothing of which is at
fault. This file knows networks and pictures; no folder of results.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gradcam_hooks.apps.batch.outcomes import failed
from gradcam_hooks.errors import GradCamHooksError, ModelError
from gradcam_hooks.images.given import as_prepare, ready
from gradcam_hooks.models import LoadedModel
from gradcam_hooks.network.state import untouched
from gradcam_hooks.runs.chunks import out_of_memory

if TYPE_CHECKING:
    from gradcam_hooks.images.given import PrepareSpec

__all__ = ["faults_told"]


@contextmanager
def faults_told(
    loaded: LoadedModel, paths: Sequence[Path], preprocess: PrepareSpec | None = None
) -> Iterator[None]:
    """Tell which picture the network fails on, where something fails that nobody raised on purpose.

    The network is asked picture by picture then; what none of them brings about is raised as it is.

    Args:
        loaded: the network.
        paths: the pictures.
        preprocess: how they are made ready; by default the network's own way.

    Raises:
        ModelError: the network fails on a picture, or memory gave out.
    """
    try:
        yield
    except (GradCamHooksError, OSError, ImportError):
        raise
    except Exception as error:  # the network is the user's code
        if out_of_memory(error):
            raise ModelError(
                f"memory gave out ({error}); let fewer through at once: --batch-size"
            ) from error
        for path in paths:
            _ask(loaded, path, preprocess)
        raise


def _ask(loaded: LoadedModel, path: Path, preprocess: PrepareSpec | None) -> None:
    """Let one picture through the network.

    Raises:
        ModelError: the network fails on it.
    """
    like = next(loaded.model.parameters(), torch.empty(0))
    pixels = ready(path, as_prepare(preprocess or loaded.preprocess))[0][None].to(like)
    try:
        with torch.no_grad():
            untouched(loaded.model, lambda: loaded.model(pixels))
    except Exception as error:  # the network is the user's code
        raise failed(error, pixels.shape[1:]).raised(path) from error
