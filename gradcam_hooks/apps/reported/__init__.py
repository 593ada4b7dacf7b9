"""The report from Python: a folder, files or a data set through a network, onto a page."""

from __future__ import annotations

from gradcam_hooks.apps.reported.run import Report, report

__all__ = ["Report", "report"]
