"""Templates: the package's HTML, in files of their own beside who fills them.

Labels, layers, file names and errors are somebody else's words: whatever goes into a template is
escaped. Jinja2 is imported when the first one is filled.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["filled", "templates"]


@cache
def templates() -> Environment:
    """The templates, by their paths in this package."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("gradcam_hooks", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def filled(path: str, macro: str, *values: object) -> str:
    """A macro of a template, filled with these values.

    >>> filled("results/notebook.html", "figure", "AAAA", "<cat>")[:26]
    '<img alt="&lt;cat&gt;" src'
    """
    return str(getattr(templates().get_template(path).module, macro)(*values))
