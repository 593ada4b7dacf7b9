"""The limit: how many pixels a picture may have before it is read, in this process.

A picture of a few kilobytes may say that it is as large as memory. The command says how many are
trusted (``--max-pixels``); whoever reads a picture and says nothing keeps to that.
"""

from __future__ import annotations

from gradcam_hooks.defaults import MAX_PIXELS

__all__ = ["allow", "allowed"]

_ALLOWED = [MAX_PIXELS]


def allow(most: int) -> None:
    """Let pictures have so many pixels from here on, and no fewer than anybody else's may."""
    _ALLOWED[0] = max(most, MAX_PIXELS)


def allowed(asked: int | None = None) -> int:
    """So many as were asked for; where nobody asked, as many as the process allows."""
    return _ALLOWED[0] if asked is None else asked
