"""The command: its flags, the words they take, what it says, and the commands themselves."""

from __future__ import annotations

from gradcam_hooks.apps.cli.app import app

__all__ = ["app"]
