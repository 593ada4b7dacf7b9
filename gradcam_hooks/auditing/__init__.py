"""What a network looks at across a whole data set: `gh.audit`."""

from __future__ import annotations

from gradcam_hooks.auditing.run import audit
from gradcam_hooks.auditing.strategies import Against, Audit, Proof, Strategy

__all__ = ["Against", "Audit", "Proof", "Strategy", "audit"]
