"""The audit as files: `audit.json`, `audit.csv` and the page `audit.html`."""

from __future__ import annotations

from gradcam_hooks.apps.audited.run import audit_files, readable
from gradcam_hooks.apps.audited.write import FILES, write_audit

__all__ = ["FILES", "audit_files", "readable", "write_audit"]
