"""The server: the page at an address of this machine, until Ctrl-C.

Nothing is fetched from elsewhere and nothing is sent elsewhere: system fonts, no analytics, no
share link. Pictures that are dropped lie in a temporary folder, which is gone when the server is.
Who may ask, and with how many bytes, the guard sees to. This file knows Gradio, and imports it
when asked.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from gradcam_hooks.apps.serve.guard import Guard, is_local
from gradcam_hooks.apps.serve.page import build
from gradcam_hooks.apps.serve.viewer import Viewer
from gradcam_hooks.errors import InputError
from gradcam_hooks.results.drawing import Style

if TYPE_CHECKING:
    from gradio import Blocks
    from gradio.themes import Base

__all__ = ["UPLOAD", "check_address", "check_gradio", "serve"]

UPLOAD = 100_000_000
"""Bytes of a picture that is dropped at most."""

_ENVELOPE = 1_000_000
"""What a request may have beside the picture."""


def check_gradio() -> None:
    """Make sure that Gradio can be imported, with nothing sent anywhere by it.

    Raises:
        ImportError: it cannot; says how to install it.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_RUN_HISTORY"] = "False"
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"the page needs Gradio, which cannot be imported ({error}): pip install gradio"
        ) from error


def check_address(host: str, port: int | None) -> None:
    """Make sure that something can listen there, before a network is loaded for it.

    Raises:
        InputError: nothing can.
    """
    try:
        kind, *_, address = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(kind, socket.SOCK_STREAM) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(address)
    except OSError as error:
        raise InputError(_cannot_listen(host, port)) from error


def _cannot_listen(host: str, port: int | None) -> str:
    where = f"'{host}'" if port is None else f"port {port} of '{host}'"
    return (
        f"the page cannot listen at {where}: it is taken, or no address of this machine. "
        "Name another with --port or --host; left out, a free port of this machine is taken"
    )


def serve(
    viewer: Viewer,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    names: Sequence[str] = (),
    style: Style | None = None,
    ready: Callable[[str], None] = print,
) -> None:
    """Serve the page until Ctrl-C.

    Args:
        viewer: the network.
        host: the address to listen on.
        port: of that address; None for the first free one from 7860.
        names: by which the page may be asked for, beside `host` and this machine's own.
        style: the map's weight and colours to begin with.
        ready: told the page's address once it can be opened.

    Raises:
        ImportError: there is no Gradio.
        InputError: nothing can listen there.
    """
    check_gradio()
    with TemporaryDirectory(prefix="gradcam_hooks_", ignore_cleanup_errors=True) as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        blocks = build(viewer, style or Style())
        try:
            address = _launch(blocks, host, port, names)
            ready(address)
            threading.Event().wait()
        finally:
            blocks.close(verbose=False)


def _launch(blocks: Blocks, host: str, port: int | None, names: Sequence[str]) -> str:
    ours = [host, *names] if is_local(host) else [host, socket.gethostname(), *names]

    @asynccontextmanager
    async def guarded(app: Any) -> AsyncIterator[None]:
        # In front of all that Gradio has put there, its own answers on other origins included.
        app.middleware_stack = Guard(
            app.middleware_stack, ours, anywhere=not is_local(host), most=UPLOAD + _ENVELOPE
        )
        yield

    try:
        _, address, _ = blocks.launch(
            server_name=host,
            server_port=port,
            share=False,
            inbrowser=False,
            ssr_mode=False,
            mcp_server=False,
            pwa=False,
            max_file_size=UPLOAD,
            app_kwargs={"lifespan": guarded},
            prevent_thread_lock=True,
            quiet=True,
            footer_links=[],
            theme=_theme(),
            css_paths=[Path(__file__).with_name("page.css")],
            js=Path(__file__).with_name("page.js").read_text(encoding="utf-8"),
        )
    except OSError as error:
        raise InputError(_cannot_listen(host, port)) from error
    except ValueError as error:  # Gradio asks its own page whether it answers
        raise InputError(
            f"the page does not answer at '{host}'; where a proxy is set, set "
            f"NO_PROXY={host} as well ({error})"
        ) from error
    return str(address)


def _theme() -> Base:
    from gradio.themes import Base, sizes

    return Base(
        primary_hue="indigo",
        neutral_hue="stone",
        radius_size=sizes.radius_lg,
        font=["system-ui", "sans-serif"],  # Gradio's own would be fetched
        font_mono=["ui-monospace", "monospace"],
    ).set(
        body_background_fill="*neutral_50",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        block_label_text_color="*neutral_600",
        block_label_text_color_dark="*neutral_300",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
    )
