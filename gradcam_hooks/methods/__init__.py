"""The methods, and the table `METHODS` that tells what each published name is.

Each file is a family: functions, and above each what is known of it.
"""

from __future__ import annotations

# Imported to be in the table, in the order in which people read it.
# isort: off
from gradcam_hooks.methods import (  # noqa: F401
    cam,
    gradient,
    second_order,
    lift,
    spectral,
    statistics,
    sampling,
    disturbing,
    scoring,
    groups,
    optimising,
    sliding,
    random_masks,
    transformers,
    legrad,
    fullgrad,
    guided,
    concepts,
    baselines,
)

# isort: on
from gradcam_hooks.methods.registry import (
    METHODS,
    Found,
    Looks,
    Method,
    Procedure,
    Rule,
    method,
    method_of,
)

__all__ = ["METHODS", "Found", "Looks", "Method", "Procedure", "Rule", "method", "method_of"]
