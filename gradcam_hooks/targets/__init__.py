"""From a model's output to the score that is explained: classes, and what is more than a class."""

from __future__ import annotations

from gradcam_hooks.targets.boxes import Box
from gradcam_hooks.targets.classes import AllClasses, On, Selection, Target, TopK, select, settle
from gradcam_hooks.targets.probabilities import Finer, LogProbability, Probability, ReST
from gradcam_hooks.targets.scores import Binary, Difference, Regression, Similarity
from gradcam_hooks.targets.segments import Segment
from gradcam_hooks.targets.tokens import Token

__all__ = [
    "AllClasses",
    "Binary",
    "Box",
    "Difference",
    "Finer",
    "LogProbability",
    "On",
    "Probability",
    "ReST",
    "Regression",
    "Segment",
    "Selection",
    "Similarity",
    "Target",
    "Token",
    "TopK",
    "select",
    "settle",
]
