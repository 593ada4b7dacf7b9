"""`python -m gradcam_hooks` is the command `gradcam-hooks`."""

from __future__ import annotations

from gradcam_hooks.apps.cli import app

if __name__ == "__main__":
    app(prog_name="gradcam-hooks")
