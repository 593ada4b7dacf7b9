"""The explainer of every method: `explain`, and a class that stays open in a ``with`` block.

Everything is checked before the first hook is registered.
"""

from __future__ import annotations

from gradcam_hooks.explainers.classes import MethodSpec, explain, explainer, explainer_class
from gradcam_hooks.explainers.explainer import Explainer, Options

__all__ = ["Explainer", "MethodSpec", "Options", "explain", "explainer", "explainer_class"]
