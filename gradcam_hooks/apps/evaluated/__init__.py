"""An evaluation as files: the page `evaluate.html`, `evaluate.json` and `evaluate.csv`."""

from __future__ import annotations

from gradcam_hooks.apps.evaluated.run import evaluate_files
from gradcam_hooks.apps.evaluated.write import FILES, write_evaluation

__all__ = ["FILES", "evaluate_files", "write_evaluation"]
