"""A folder through an explainer: the job, its records, where they are kept, and the loop."""

from __future__ import annotations

from gradcam_hooks.apps.batch.job import Job
from gradcam_hooks.apps.batch.records import Record
from gradcam_hooks.apps.batch.series import Series, overlay_names

__all__ = ["Job", "Record", "Series", "overlay_names"]
