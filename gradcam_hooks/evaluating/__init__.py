"""Which explanation can be trusted, asked of the user's own pictures: `gh.evaluate`."""

from __future__ import annotations

from gradcam_hooks.evaluating.evaluation import Evaluation
from gradcam_hooks.evaluating.run import evaluate

__all__ = ["Evaluation", "evaluate"]
