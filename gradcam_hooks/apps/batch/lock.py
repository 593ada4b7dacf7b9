"""A lock on a folder, which dies with the process that holds it.

The system lets go of it however the process ends, so that a killed run never bars the next one.
Where a file system knows no locks (some network ones) there is none. This file knows files; not
what they are of.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from gradcam_hooks.errors import ImageError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["locked"]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which is made for it and removed after it.

    Args:
        path: the file; its folder is there.

    Raises:
        ImageError: another process holds it, or another thread of this one.
    """
    file = _open(path)
    try:
        with contextlib.suppress(OSError):  # a full disk: it is for the message alone
            file.truncate(0)
            os.write(file.fileno(), str(os.getpid()).encode("ascii"))
        yield
    finally:
        if sys.platform != "win32":
            path.unlink(missing_ok=True)  # while it is held: nobody else's is removed
        file.close()
        if sys.platform == "win32":
            with contextlib.suppress(OSError):  # another process has opened it by now
                path.unlink()


def _open(path: Path) -> IO[str]:
    while True:
        file = path.open("a+", encoding="ascii")
        if not _take(file):
            file.seek(0)
            owner = file.read(20)
            file.close()
            who = f"process {owner}" if owner.isdecimal() else "another process"
            raise ImageError(
                f"another run is at work in '{path.parent.parent}' ({who}); wait until it ends, "
                "or name another folder (--out)"
            )
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()  # whoever held it has removed it meanwhile


def _take(file: IO[str]) -> bool:
    """Whether the lock could be taken, without waiting."""
    try:
        if sys.platform == "win32":
            os.lseek(file.fileno(), 1 << 30, os.SEEK_SET)  # what is locked cannot be read there
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return (
            sys.platform != "win32"
        )  # the file system has no locks; Windows says so of a held one
    return True
