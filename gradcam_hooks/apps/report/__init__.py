"""The report: a page that shows every picture with its maps, and needs nothing but a browser.

`entries_of` turns a run's records into what is shown, `terms_of` tells what the run was, and
`write_report` writes the page. It reads what the loop has written, and knows no model. Importing
this takes no Jinja2 and no Pillow; they come where a page is written.
"""

from __future__ import annotations

from gradcam_hooks.apps.report.entries import Entry, Source, entries_of
from gradcam_hooks.apps.report.page import Look
from gradcam_hooks.apps.report.terms import terms_of
from gradcam_hooks.apps.report.write import write_report

__all__ = ["Entry", "Look", "Source", "entries_of", "terms_of", "write_report"]
