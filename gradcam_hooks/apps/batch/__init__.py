"""A folder through an explainer: the job, its records, where they are kept, and the loop."""

from __future__ import annotations

from gradcam_hooks.apps.batch.folder import Folder
from gradcam_hooks.apps.batch.job import Job
from gradcam_hooks.apps.batch.names import overlay_names
from gradcam_hooks.apps.batch.records import Record
from gradcam_hooks.apps.batch.series import Series

__all__ = ["Folder", "Job", "Record", "Series", "overlay_names"]
