"""The interactive page: drop a picture, choose a layer, a method and a class, and see the map.

`viewer` answers what a page asks, `words` says it, `page` is the page itself, `server` serves it
and `guard` stands before it. Gradio is imported when a page is made, not before.
"""

from __future__ import annotations

from gradcam_hooks.apps.serve.guard import is_local
from gradcam_hooks.apps.serve.server import check_address, check_gradio, serve
from gradcam_hooks.apps.serve.viewer import Choice, Opened, Seen, Viewer

__all__ = [
    "Choice",
    "Opened",
    "Seen",
    "Viewer",
    "check_address",
    "check_gradio",
    "is_local",
    "serve",
]
