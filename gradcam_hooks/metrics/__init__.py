"""Metrics of maps: pure functions of a score or of maps, with a card each, and states that merge.

>>> import torch
>>> from gradcam_hooks import metrics
>>> images = torch.tensor([[[8.0, 0.0, 0.0, 0.0]]])
>>> metrics.deletion(lambda x: x[:, 0, 0], images, images[0], steps=4)
deletion 1 of 1, lower is better

`scored` makes the score of a model and a target; `METRICS` has every metric with its card. A map is
never ranked by one of them: they contradict each other, and each can be gamed in its own way.
"""

from __future__ import annotations

# In the order in which people read the table.
# isort: off
from gradcam_hooks.metrics.removal import deletion, insertion
from gradcam_hooks.metrics.road import road
from gradcam_hooks.metrics.drop import average_drop, gain, increase, masked
from gradcam_hooks.metrics.concentration import complexity, sparseness
from gradcam_hooks.metrics.coherence import adcc, arcc, coherency
from gradcam_hooks.metrics.fidelity import (
    contrastive_faithfulness,
    f_fidelity,
    idsds,
    infidelity,
)
from gradcam_hooks.metrics.stability import max_sensitivity
from gradcam_hooks.metrics.randomisation import (
    cascade,
    emprt,
    mprt,
    random_logit,
    randomised,
    smprt,
)
from gradcam_hooks.metrics.pointing import (
    energy_pointing_game,
    iou,
    pointing_game,
    relevance_rank_accuracy,
)
from gradcam_hooks.metrics.boxing import max_box_acc, max_box_acc_v2
from gradcam_hooks.metrics.grids import Gridded, di_full, di_part, grid_pg, grids

# isort: on
from gradcam_hooks.metrics.adapters import explain_func, torchmetric
from gradcam_hooks.metrics.measured import Found, Measured
from gradcam_hooks.metrics.registry import METRICS, Metric, metric, metric_of
from gradcam_hooks.metrics.scores import Score, Scored, scored
from gradcam_hooks.metrics.states import State
from gradcam_hooks.metrics.truths import masks_of

__all__ = [
    "METRICS",
    "Found",
    "Gridded",
    "Measured",
    "Metric",
    "Score",
    "Scored",
    "State",
    "adcc",
    "arcc",
    "average_drop",
    "cascade",
    "coherency",
    "complexity",
    "contrastive_faithfulness",
    "deletion",
    "di_full",
    "di_part",
    "emprt",
    "energy_pointing_game",
    "explain_func",
    "f_fidelity",
    "gain",
    "grid_pg",
    "grids",
    "idsds",
    "increase",
    "infidelity",
    "insertion",
    "iou",
    "masked",
    "masks_of",
    "max_box_acc",
    "max_box_acc_v2",
    "max_sensitivity",
    "metric",
    "metric_of",
    "mprt",
    "pointing_game",
    "random_logit",
    "randomised",
    "relevance_rank_accuracy",
    "road",
    "scored",
    "smprt",
    "sparseness",
    "torchmetric",
]
