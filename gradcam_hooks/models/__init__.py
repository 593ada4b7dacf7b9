"""Models: an architecture by name, with the weights of a checkpoint, whole or not at all."""

from __future__ import annotations

from gradcam_hooks.models.loading import LoadedModel, load_model

__all__ = ["LoadedModel", "load_model"]
