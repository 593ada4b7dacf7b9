"""A data set on several machines, by Ray Data: rows of pictures in, rows of explanations out."""

from __future__ import annotations

from gradcam_hooks.apps.cluster.dataset import explain_dataset

__all__ = ["explain_dataset"]
