"""The report from Python: a folder, files or a data set through a network, onto a page."""

from __future__ import annotations

from gradcam_hooks.apps.reported.run import Report, page_of, report

__all__ = ["Report", "page_of", "report"]
