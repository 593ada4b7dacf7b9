"""The classes of the library's own methods, `GradCAM` and all others, made of the table.

The stub beside this file, `named.pyi`, tells type checkers and editors the same; it is written by
`scripts/methods_doc.py`.
"""

from __future__ import annotations

from gradcam_hooks.explainers.classes import explainer_class
from gradcam_hooks.methods import METHODS

_KINDS = {row.cls: explainer_class(row) for row in METHODS.values()}
for _kind in _KINDS.values():
    _kind.__module__ = "gradcam_hooks"  # where users find it

globals().update(_KINDS)
__all__ = list(_KINDS)
