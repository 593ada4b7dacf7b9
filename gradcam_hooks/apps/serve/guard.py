"""The guard before the page: who may ask it, and with how many bytes.

A page of somebody else's, open in a browser on this machine, can send requests here, and with a
name of its own that it points at this machine (DNS rebinding) it could read the answers too. So
the name that was asked for must be one of ours, and where the browser says which page asks, it
must be our own. This file knows ASGI; nothing of Gradio or pictures.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from ipaddress import ip_address
from typing import Any, TypeAlias
from urllib.parse import urlsplit

__all__ = ["Guard", "is_local"]

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]


def is_local(host: str) -> bool:
    """Whether an address is reached from this machine alone.

    >>> is_local("127.0.0.1"), is_local("localhost"), is_local("0.0.0.0")
    (True, True, False)
    """
    with contextlib.suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


class Guard:
    """An ASGI application that lets through to another what is asked rightly.

    Args:
        app: the other.
        names: by which it may be asked for, beside "localhost" and addresses of this machine.
        anywhere: whether any address will do, since it listens on others than this machine's own;
            an address, unlike a name, nobody can point here.
        most: bytes of a request at most.
    """

    def __init__(self, app: App, names: Iterable[str], *, anywhere: bool, most: int) -> None:
        self._app = app
        self._names = {name.casefold() for name in names}
        self._anywhere = anywhere
        self._most = most

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it with the reason why not."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
        elif scope["type"] == "http" and self._length(scope) > self._most:
            await self._say(send, 413, self._too_long)
        elif told := self._refused(scope):
            if scope["type"] == "http":
                await self._say(send, 403, told)
            else:
                await send({"type": "websocket.close", "code": 1008})
        else:
            await self._counted(scope, receive, send)

    async def _counted(self, scope: Message, receive: Receive, send: Send) -> None:
        """Let the request through as long as it is not too long; not all say how long they are."""
        count = 0

        async def counting() -> Message:
            nonlocal count
            message = await receive()
            count += len(message.get("body", b""))
            return message if count <= self._most else {"type": "http.disconnect"}

        async def sending(message: Message) -> None:
            if count <= self._most:
                await send(message)

        try:
            await self._app(scope, counting, sending)
        except Exception:  # of a request that was cut off it is the cutting, answered below
            if count <= self._most:
                raise
        if count > self._most:
            await self._say(send, 413, self._too_long)

    def _refused(self, scope: Message) -> str:
        """Why a request is refused; "" where it is not."""
        hosts = _headers(scope, b"host")
        name = _name(hosts[0]) if len(hosts) == 1 else None
        if name is None or not self._is_ours(name):
            return (
                f"this page is not '{', '.join(hosts)}': open it by the address that the command "
                "printed, or start it with --allow-host and that name"
            )
        for origin in _headers(scope, b"origin"):
            if origin.partition("://")[2].casefold() != hosts[0].casefold():
                return "another page asked, and only this one may"
        return ""

    def _is_ours(self, name: str) -> bool:
        if name in self._names or is_local(name):
            return True
        with contextlib.suppress(ValueError):
            return self._anywhere and bool(ip_address(name))
        return False

    def _length(self, scope: Message) -> int:
        said = _headers(scope, b"content-length")
        return max((int(word) for word in said if word.isdecimal()), default=0)

    @property
    def _too_long(self) -> str:
        return f"more than {self._most:,} bytes: make the picture smaller"

    @staticmethod
    async def _say(send: Send, status: int, told: str) -> None:
        body = (told + "\n").encode(errors="replace")
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"connection", b"close"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _headers(scope: Message, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


def _name(host: str) -> str | None:
    """The name in a Host header, without its port; None where there is none."""
    with contextlib.suppress(ValueError):
        return urlsplit(f"//{host}").hostname
    return None
