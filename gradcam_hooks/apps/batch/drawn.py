"""What is written of one picture: its overlay, its card, and of a scan the map as NIfTI.

Knows explanations and the names of files; no network, no record, no folder.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from gradcam_hooks.apps.batch.cards import card_of
from gradcam_hooks.apps.batch.names import card_name
from gradcam_hooks.apps.batch.plan import Task
from gradcam_hooks.results.comparison import Comparison
from gradcam_hooks.results.drawing import Style
from gradcam_hooks.results.explanation import Explanation

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Write", "draw"]

Write: TypeAlias = Callable[[str], AbstractContextManager[Path]]
"""For the name of a file a path to write to, which becomes the file when the block ends well."""


def draw(
    write: Write,
    task: Task,
    image: Image.Image,
    explained: Explanation | Comparison,
    style: Style,
) -> tuple[Explanation, ...]:
    """Write the files of one picture, each whole or not at all; the explanations of it.

    Args:
        write: where to; a folder's, which is held.
        task: the names.
        image: the picture.
        explained: what to draw.
        style: how; a comparison has its own.

    Raises:
        InputError: the maps have no height and width.
        OSError: the system refuses.
    """
    with write(task.overlay) as part:
        if isinstance(explained, Comparison):
            explained.save(part)
            every = explained.explanations
        else:
            explained.save(part, style=style)
            every = (explained,)
    with write(card_name(task.overlay)) as part:
        card_of(every, image).write(part)
    if task.volume is not None:
        with write(task.volume) as part:
            named = part.with_name(f"{part.name}.nii.gz")  # which says the format
            every[0].save(named)
            named.replace(part)
    return every
