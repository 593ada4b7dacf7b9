"""What is written of one picture: its overlay, its card, and of a scan the map as NIfTI.

Knows explanations and the folder of the results; no network, no record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradcam_hooks.apps.batch.cards import card_of
from gradcam_hooks.apps.batch.folder import Folder
from gradcam_hooks.apps.batch.names import card_name
from gradcam_hooks.apps.batch.plan import Task
from gradcam_hooks.results.comparison import Comparison
from gradcam_hooks.results.drawing import Style
from gradcam_hooks.results.explanation import Explanation

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["draw"]


def draw(
    folder: Folder,
    task: Task,
    image: Image.Image,
    explained: Explanation | Comparison,
    style: Style,
) -> tuple[Explanation, ...]:
    """Write the files of one picture, each whole or not at all; the explanations of it.

    Args:
        folder: where to, held.
        task: the names.
        image: the picture.
        explained: what to draw.
        style: how; a comparison has its own.

    Raises:
        InputError: the maps have no height and width.
        OSError: the system refuses.
    """
    with folder.write(task.overlay) as part:
        if isinstance(explained, Comparison):
            explained.save(part)
            every = explained.explanations
        else:
            explained.save(part, style=style)
            every = (explained,)
    with folder.write(card_name(task.overlay)) as part:
        card_of(every, image).write(part)
    if task.volume is not None:
        with folder.write(task.volume) as part:
            named = part.with_name(f"{part.name}.nii.gz")  # which says the format
            every[0].save(named)
            named.replace(part)
    return every
