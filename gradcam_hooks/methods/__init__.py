"""The methods, and the table `METHODS` that tells what each published name is.

Each file is a family: its functions, and a row for each published name beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gradcam_hooks.methods import (
    baselines,
    cam,
    concepts,
    disturbing,
    fullgrad,
    gradient,
    groups,
    guided,
    lift,
    optimising,
    random_masks,
    sampling,
    scoring,
    second_order,
    spectral,
    statistics,
    transformers,
)
from gradcam_hooks.methods.registry import Found, Looks, Method, Procedure, Rule

__all__ = ["METHODS", "Found", "Looks", "Method", "Procedure", "Rule"]

_FAMILIES = (
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
    random_masks,
    transformers,
    fullgrad,
    guided,
    concepts,
    baselines,
)

METHODS: Mapping[str, Method] = MappingProxyType(
    {row.name: row for family in _FAMILIES for row in family.ROWS}
)
"""Each method by its name."""
