"""Maps for other tools: annotation formats, dataset viewers and experiment trackers.

`coco` and `label_studio` give the regions of maps as plain data for JSON; `fiftyone_heatmaps`,
`wandb_images` and `log_to_mlflow` hand maps to the packages of these names. Each package is
imported where it is used, and importing this takes none. TensorBoard and Lightning are in
`gradcam_hooks.watch`. Knows explanations as their users do.
"""

from __future__ import annotations

from gradcam_hooks.export.coco import coco
from gradcam_hooks.export.label_studio import label_config, label_studio
from gradcam_hooks.export.trackers import fiftyone_heatmaps, log_to_mlflow, wandb_images

__all__ = [
    "coco",
    "fiftyone_heatmaps",
    "label_config",
    "label_studio",
    "log_to_mlflow",
    "wandb_images",
]
