"""Which version this is. Knows the installed package's own papers alone."""

from __future__ import annotations

import importlib.metadata

__all__ = ["version"]


def version() -> str:
    """The version of the installed package, "unknown" where it runs from its sources alone."""
    try:
        return importlib.metadata.version("gradcam-hooks")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
