"""Ctrl-C while the command is still being imported: a line, as later on, and no traceback.

PyTorch takes a second or two to import, and until that is done the command has nothing that could
catch it. In a program of somebody else's, who imports the library, nothing is changed. This file
knows the interpreter alone, and is imported first.
"""

from __future__ import annotations

import sys
from pathlib import PurePath
from types import TracebackType

__all__ = ["is_command", "stopped"]


def is_command(argv: list[str], original: list[str]) -> bool:
    """Whether this process is the command, by `sys.argv` and `sys.orig_argv`.

    >>> is_command(["/usr/bin/gradcam-hooks", "demo"], [])
    True
    >>> is_command(["-m", "demo"], ["python", "-m", "gradcam_hooks", "demo"])
    True
    >>> is_command(["-m", "gradcam_hooks"], ["python", "-m", "somebody.else", "gradcam_hooks"])
    False
    """
    if argv[:1] == ["-m"]:  # as long as Python looks for the module
        return original[original.index("-m") + 1 :][:1] == ["gradcam_hooks"]
    return bool(argv) and PurePath(argv[0]).stem == "gradcam-hooks"


def stopped(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """Say what ended the process; Python gives it the status of an interrupted one."""
    if issubclass(kind, KeyboardInterrupt):
        print("stopped: by Ctrl-C", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)


if is_command(sys.argv, sys.orig_argv):
    sys.excepthook = stopped
